--!strict
-- services.lua: the twelve containers of the Metacircular platform, the names by which they are reached inside, and the
-- public routes on the edge node. Where all this is comes from an inventory; every run parameter is here.
--
-- Left out: exod (v0.1.0, 8080 and 9090 on all interfaces), for which no run line is recorded.
local check = require("@std/check")
local deploy = require("@std/deploy")
local inventory = require("@std/inventory")

local services = {}

--- A service as `deploy.service` returns it.
type Service = typeof(deploy.service({ name = "a", image = "a:v1" }))

--- What has to be healthy before the next one starts.
export type Stage = { name: string, services: { Service } }

--- A route of the edge node: to a port of the node that runs the containers, or to what runs on the edge node itself.
export type Public = { hostname: string, listen: number, backend: string, ca: string? }

--- The whole platform.
export type Platform = {
    mcns: Service,
    mc_proxy: Service,
    mcr_api: Service,
    mcr_web: Service,
    metacrypt_api: Service,
    metacrypt_web: Service,
    mcp_master: Service,
    mcq: Service,
    mcdoc: Service,
    mcat: Service,
    kls: Service,
    sgardd: Service,
    --- Those of the last stage.
    applications: { Service },
    --- All of them in boot order.
    stages: { Stage },
    public: { Public },
    --- The node that serves the public routes.
    edge: string,
    --- Zones of the names inside.
    domain: string,
}

--- The node of a service, and where things are there.
type Where = { node: string, lan: string, overlay: string, loopback: string, srv: string }

--- What holds everywhere, out of an inventory.
type Settings = {
    registry: string,
    domain: string,
    public_domain: string,
    git: string,
    pull: boolean,
    ingress: { [string]: any },
}

local function needed(variables: inventory.Variables, where: string, name: string, kind: check.Kind): any
    local value = variables[name]
    local expected = kind(value)
    if expected then
        local problem = if value == nil then "is missing" else `takes {expected}`
        check.raise("MC-A001", `the inventory's {where}.{name} {problem}`, {
            hint = "scripts/metacircular/inventory.toml shows a whole one",
        })
    end
    return value
end

local function settings_of(given: inventory.Inventory): Settings
    local all = given.variables
    return {
        registry = needed(all, "variables", "registry", check.text),
        domain = needed(all, "variables", "domain", check.text),
        public_domain = needed(all, "variables", "public_domain", check.text),
        git = needed(all, "variables", "git", check.text),
        pull = needed(all, "variables", "pull", check.flag),
        ingress = all.ingress or {},
    }
end

--- Where a service is: on the node that it names, else on that of all. Its addresses and its folder are that node's.
local function where_is(given: inventory.Inventory, service: string): Where
    local entry = given.services[service]
    local name: string = if entry and entry.node then entry.node else needed(given.variables, "variables", "node", check.text)
    local node = given.nodes[name]
    if not node then
        check.raise("MC-A001", `the inventory's variables.node names the node \`{name}\`, which it does not have`)
    end
    local where = `nodes.{name}.variables`
    return {
        node = name,
        lan = needed(node.variables, where, "lan", check.text),
        overlay = needed(node.variables, where, "overlay", check.text),
        loopback = needed(node.variables, where, "loopback", check.text),
        srv = needed(node.variables, where, "srv", check.text),
    }
end

--- The variables of one service.
local function own(given: inventory.Inventory, name: string): inventory.Variables
    local found = given.services[name]
    return if found then found.variables else {}
end

--- The authority of a service that speaks TLS behind the proxy.
local function authority(given: inventory.Inventory, name: string): string?
    local path = own(given, name).ca
    return if path then files.read({ path = path }).content else nil
end

--- The platform of an inventory that has been read.
function services.on(given: inventory.Inventory): Platform
    local all = settings_of(given)
    local https: number?, api: number?, grpc: number? = all.ingress.https, all.ingress.api, all.ingress.grpc
    -- Of the service that is described next.
    local at: Where

    local function image(name: string): string
        return all.registry .. name
    end
    local function data(folder: string): { string }
        return { `{at.srv}/{folder}:/srv/{folder}` }
    end
    --- A port on the loopback address; with `listen` it is reached by name there.
    local function route(name: string, port: number, host: number, service: string, mode: string?, listen: number?, ca: string?): any
        local plain = { name = name, port = port, host = host, address = at.loopback }
        if not listen then
            return plain
        end
        local named: any = plain
        named.hostname = `{service}.{all.domain}`
        named.mode = mode
        named.listen = listen
        named.backend_tls = if ca then { ca = ca } else nil
        return named
    end
    --- The same port at the overlay address, which the edge node reaches.
    local function overlay(port: number, host: number): any
        return { host = host, container = port, address = at.overlay }
    end
    --- The same for a service whose run line has it on the loopback address alone.
    local function overlay_if_wanted(name: string, port: number, host: number): { any }
        return if own(given, name).overlay == true then { overlay(port, host) } else {}
    end

    local platform: any = { edge = given.variables.edge or given.variables.node, domain = all.domain }

    at = where_is(given, "mcns")
    platform.mcns = deploy.service {
        name = "mcns",
        node = at.node,
        image = image("mcns:v1.2.0"),
        pull = all.pull,
        cmd = { "server", "--config", "/srv/mcns/mcns.toml" },
        network = "bridge",
        -- The system's resolver has port 53 on 127.0.0.1: addresses are named.
        ports = {
            { host = 53, container = 53, address = at.lan, protocol = "both" },
            { host = 53, container = 53, address = at.overlay, protocol = "both" },
            { host = 38443, container = 8443, address = at.loopback },
        },
        volumes = data("mcns"),
        restart = "unless-stopped",
        health = { tcp = true, port = 8443, within = "60s" },
    }

    at = where_is(given, "mc-proxy")
    platform.mc_proxy = deploy.service {
        name = "mc-proxy",
        node = at.node,
        image = image("mc-proxy:v1.2.2"),
        pull = all.pull,
        cmd = { "server", "--config", "/srv/mc-proxy/mc-proxy.toml" },
        network = "host",
        volumes = data("mc-proxy"),
        restart = "unless-stopped",
        health = {
            tcp = true,
            port = needed(own(given, "mc-proxy"), "services.mc-proxy.variables", "port", check.port),
            within = "60s",
        },
    }

    at = where_is(given, "mcr-api")
    platform.mcr_api = deploy.service {
        name = "mcr-api",
        node = at.node,
        image = image("mcr:v1.2.1"),
        pull = all.pull,
        cmd = { "server", "--config", "/srv/mcr/mcr.toml" },
        network = "bridge",
        routes = {
            route("api", 8443, 28443, "mcr", "l4", api),
            route("grpc", 9443, 29443, "mcr", "l4", grpc),
        },
        volumes = data("mcr"),
        restart = "unless-stopped",
        -- An unauthenticated `GET /v2/` answers 401, over TLS for a name that is not the loopback's.
        health = { tcp = true, port = "api", within = "60s" },
    }

    at = where_is(given, "mcr-web")
    platform.mcr_web = deploy.service {
        name = "mcr-web",
        node = at.node,
        image = image("mcr-web:v1.3.2"),
        pull = all.pull,
        cmd = { "server", "--config", "/srv/mcr/mcr.toml" },
        user = "0:0",
        network = "bridge",
        routes = { route("web", 8080, 28080, "mcr", "l7", https, authority(given, "mcr-web")) },
        volumes = data("mcr"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    at = where_is(given, "metacrypt-api")
    platform.metacrypt_api = deploy.service {
        name = "metacrypt-api",
        node = at.node,
        image = image("metacrypt:v1.3.1"),
        pull = all.pull,
        cmd = { "server", "--config", "/srv/metacrypt/metacrypt.toml" },
        network = "bridge",
        routes = {
            route("api", 8443, 18443, "metacrypt", "l4", api),
            route("grpc", 9443, 19443, "metacrypt", "l4", grpc),
        },
        volumes = data("metacrypt"),
        restart = "unless-stopped",
        health = { tcp = true, port = "api", within = "60s" },
    }

    at = where_is(given, "metacrypt-web")
    platform.metacrypt_web = deploy.service {
        name = "metacrypt-web",
        node = at.node,
        image = image("metacrypt-web:v1.4.1"),
        pull = all.pull,
        cmd = { "--config", "/srv/metacrypt/metacrypt.toml" },
        network = "bridge",
        routes = { route("web", 8080, 18080, "metacrypt", "l7", https, authority(given, "metacrypt-web")) },
        ports = overlay_if_wanted("metacrypt-web", 8080, 18080),
        volumes = data("metacrypt"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    at = where_is(given, "mcp-master")
    platform.mcp_master = deploy.service {
        name = "mcp-master",
        node = at.node,
        image = image("mcp-master:v0.10.3"),
        pull = all.pull,
        cmd = { "server", "--config", "/srv/mcp-master/mcp-master.toml" },
        network = "host",
        volumes = data("mcp-master"),
        restart = "unless-stopped",
        health = {
            tcp = true,
            port = needed(own(given, "mcp-master"), "services.mcp-master.variables", "port", check.port),
            within = "60s",
        },
    }

    at = where_is(given, "mcq")
    platform.mcq = deploy.service {
        name = "mcq",
        node = at.node,
        image = image("mcq:v0.4.2"),
        pull = all.pull,
        cmd = { "server", "--config", "/srv/mcq/mcq.toml" },
        network = "bridge",
        -- Its name inside is what the first stage of a boot looks up.
        routes = { route("web", 8080, 48080, "mcq", "l7", https, authority(given, "mcq")) },
        ports = { overlay(8080, 48080) },
        volumes = data("mcq"),
        restart = "unless-stopped",
        health = { http = "/v1/health", within = "60s" },
    }

    at = where_is(given, "mcdoc")
    platform.mcdoc = deploy.service {
        name = "mcdoc",
        node = at.node,
        image = image("mcdoc:v0.1.0"),
        pull = all.pull,
        cmd = { "server", "--config", "/srv/mcdoc/mcdoc.toml" },
        network = "bridge",
        routes = { route("web", 8080, 38080, "mcdoc", "l7", https, authority(given, "mcdoc")) },
        ports = overlay_if_wanted("mcdoc", 8080, 38080),
        volumes = data("mcdoc"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    at = where_is(given, "mcat")
    platform.mcat = deploy.service {
        name = "mcat",
        node = at.node,
        image = image("mcat:v1.2.0"),
        pull = all.pull,
        cmd = { "server", "--config", "/srv/mcat/mcat.toml" },
        network = "bridge",
        routes = { route("web", 8443, 48116, "mcat", "l7", https, authority(given, "mcat")) },
        volumes = data("mcat"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    at = where_is(given, "kls")
    platform.kls = deploy.service {
        name = "kls",
        node = at.node,
        image = image("kls:v0.2.0"),
        pull = all.pull,
        cmd = { "-f", "/srv/kls/kls.conf" },
        network = "bridge",
        routes = { route("web", 8080, 58080, "kls", "l7", https, authority(given, "kls")) },
        ports = { overlay(8080, 58080) },
        volumes = data("kls"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    at = where_is(given, "sgardd")
    platform.sgardd = deploy.service {
        name = "sgardd",
        node = at.node,
        image = image("sgardd:v3.2.0"),
        pull = all.pull,
        cmd = {
            "--repo", "/srv/sgard",
            "--authorized-keys", "/srv/sgard/authorized_keys",
            "--tls-cert", "/srv/sgard/certs/sgard.pem",
            "--tls-key", "/srv/sgard/certs/sgard.key",
        },
        network = "bridge",
        routes = { route("grpc", 9473, 19473, "sgardd", "l4", grpc) },
        volumes = data("sgard"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    platform.applications = { platform.mcq, platform.mcdoc, platform.mcat, platform.kls, platform.sgardd }
    platform.stages = {
        { name = "foundation", services = { platform.mcns } },
        {
            name = "core",
            services = {
                platform.mc_proxy, platform.mcr_api, platform.mcr_web, platform.metacrypt_api, platform.metacrypt_web,
            },
        },
        { name = "management", services = { platform.mcp_master } },
        { name = "services", services = platform.applications },
    }

    local function public(name: string, backend: string, ca: string?): Public
        return { hostname = name, listen = all.ingress.public or 443, backend = backend, ca = ca }
    end
    platform.public = {
        public(`git.{all.public_domain}`, all.git),
        public("git.wntrmute.dev", all.git),
        public(`kls.{all.public_domain}`, `{where_is(given, "kls").overlay}:58080`, authority(given, "kls")),
        public(`mcq.{all.public_domain}`, `{where_is(given, "mcq").overlay}:48080`, authority(given, "mcq")),
        public(`docs.{all.public_domain}`, `{where_is(given, "mcdoc").overlay}:38080`, authority(given, "mcdoc")),
        public(`metacrypt.{all.public_domain}`, `{where_is(given, "metacrypt-web").overlay}:18080`, authority(given, "metacrypt-web")),
    }
    return table.freeze(platform)
end

--- The platform of the inventory at `path`, which is absolute or relative to the script's folder.
function services.read(path: string?): Platform
    return services.on(inventory.read { path = path or "inventory.toml" })
end

--- The stages with those of their services that are on the node `here`. A machine of which the inventory has neither a
--- service nor the public routes is refused: what is meant for another one is never done on this one.
function services.stages_on(platform: Platform, here: string): { Stage }
    local stages: { Stage } = {}
    local elsewhere: { [string]: boolean } = {}
    for _, stage in platform.stages do
        local mine: { Service } = {}
        for _, service in stage.services do
            local node = service.node or here
            if node == here then
                table.insert(mine, service)
            else
                elsewhere[node] = true
                log.info(`{service.name}: is for the node {node}, left alone`)
            end
        end
        if #mine > 0 then
            table.insert(stages, { name = stage.name, services = mine })
        end
    end
    if #stages == 0 and here ~= platform.edge then
        local names: { string } = { platform.edge }
        for node in elsewhere do
            if node ~= platform.edge then
                table.insert(names, node)
            end
        end
        table.sort(names)
        check.raise("MC-N002", `this node is {here}, and the inventory has nothing for it`, {
            cause = `the platform is on {table.concat(names, ", ")}`,
            hint = "run it there, or change the nodes of the inventory; `[node]` in mcrun.toml names this one",
        })
    end
    return stages
end

return table.freeze(services)
