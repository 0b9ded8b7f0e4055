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
    --- The node that runs the containers, and the one that serves the public routes.
    node: string,
    edge: string,
    --- Zones of the names inside.
    domain: string,
}

--- Where things are, out of an inventory.
type Settings = {
    lan: string,
    overlay: string,
    loopback: string,
    registry: string,
    srv: string,
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
    local name: string = needed(all, "variables", "node", check.text)
    local node = given.nodes[name]
    if not node then
        check.raise("MC-A001", `the inventory's variables.node names the node \`{name}\`, which it does not have`)
    end
    local where = `nodes.{name}.variables`
    return {
        lan = needed(node.variables, where, "lan", check.text),
        overlay = needed(node.variables, where, "overlay", check.text),
        loopback = needed(node.variables, where, "loopback", check.text),
        registry = needed(all, "variables", "registry", check.text),
        srv = needed(all, "variables", "srv", check.text),
        domain = needed(all, "variables", "domain", check.text),
        public_domain = needed(all, "variables", "public_domain", check.text),
        git = needed(all, "variables", "git", check.text),
        pull = needed(all, "variables", "pull", check.flag),
        ingress = all.ingress or {},
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
    local at = settings_of(given)
    local https: number?, api: number?, grpc: number? = at.ingress.https, at.ingress.api, at.ingress.grpc

    local function image(name: string): string
        return at.registry .. name
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
        named.hostname = `{service}.{at.domain}`
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

    local platform: any = { node = given.variables.node, edge = given.variables.edge or given.variables.node, domain = at.domain }

    platform.mcns = deploy.service {
        name = "mcns",
        image = image("mcns:v1.2.0"),
        pull = at.pull,
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

    platform.mc_proxy = deploy.service {
        name = "mc-proxy",
        image = image("mc-proxy:v1.2.2"),
        pull = at.pull,
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

    platform.mcr_api = deploy.service {
        name = "mcr-api",
        image = image("mcr:v1.2.1"),
        pull = at.pull,
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

    platform.mcr_web = deploy.service {
        name = "mcr-web",
        image = image("mcr-web:v1.3.2"),
        pull = at.pull,
        cmd = { "server", "--config", "/srv/mcr/mcr.toml" },
        user = "0:0",
        network = "bridge",
        routes = { route("web", 8080, 28080, "mcr", "l7", https, authority(given, "mcr-web")) },
        volumes = data("mcr"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    platform.metacrypt_api = deploy.service {
        name = "metacrypt-api",
        image = image("metacrypt:v1.3.1"),
        pull = at.pull,
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

    platform.metacrypt_web = deploy.service {
        name = "metacrypt-web",
        image = image("metacrypt-web:v1.4.1"),
        pull = at.pull,
        cmd = { "--config", "/srv/metacrypt/metacrypt.toml" },
        network = "bridge",
        routes = { route("web", 8080, 18080, "metacrypt", "l7", https, authority(given, "metacrypt-web")) },
        ports = overlay_if_wanted("metacrypt-web", 8080, 18080),
        volumes = data("metacrypt"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    platform.mcp_master = deploy.service {
        name = "mcp-master",
        image = image("mcp-master:v0.10.3"),
        pull = at.pull,
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

    platform.mcq = deploy.service {
        name = "mcq",
        image = image("mcq:v0.4.2"),
        pull = at.pull,
        cmd = { "server", "--config", "/srv/mcq/mcq.toml" },
        network = "bridge",
        -- Its name inside is what the first stage of a boot looks up.
        routes = { route("web", 8080, 48080, "mcq", "l7", https, authority(given, "mcq")) },
        ports = { overlay(8080, 48080) },
        volumes = data("mcq"),
        restart = "unless-stopped",
        health = { http = "/v1/health", within = "60s" },
    }

    platform.mcdoc = deploy.service {
        name = "mcdoc",
        image = image("mcdoc:v0.1.0"),
        pull = at.pull,
        cmd = { "server", "--config", "/srv/mcdoc/mcdoc.toml" },
        network = "bridge",
        routes = { route("web", 8080, 38080, "mcdoc", "l7", https, authority(given, "mcdoc")) },
        ports = overlay_if_wanted("mcdoc", 8080, 38080),
        volumes = data("mcdoc"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    platform.mcat = deploy.service {
        name = "mcat",
        image = image("mcat:v1.2.0"),
        pull = at.pull,
        cmd = { "server", "--config", "/srv/mcat/mcat.toml" },
        network = "bridge",
        routes = { route("web", 8443, 48116, "mcat", "l7", https, authority(given, "mcat")) },
        volumes = data("mcat"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    platform.kls = deploy.service {
        name = "kls",
        image = image("kls:v0.2.0"),
        pull = at.pull,
        cmd = { "-f", "/srv/kls/kls.conf" },
        network = "bridge",
        routes = { route("web", 8080, 58080, "kls", "l7", https, authority(given, "kls")) },
        ports = { overlay(8080, 58080) },
        volumes = data("kls"),
        restart = "unless-stopped",
        health = { tcp = true, within = "60s" },
    }

    platform.sgardd = deploy.service {
        name = "sgardd",
        image = image("sgardd:v3.2.0"),
        pull = at.pull,
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
        return { hostname = name, listen = at.ingress.public or 443, backend = backend, ca = ca }
    end
    platform.public = {
        public(`git.{at.public_domain}`, at.git),
        public("git.wntrmute.dev", at.git),
        public(`kls.{at.public_domain}`, `{at.overlay}:58080`, authority(given, "kls")),
        public(`mcq.{at.public_domain}`, `{at.overlay}:48080`, authority(given, "mcq")),
        public(`docs.{at.public_domain}`, `{at.overlay}:38080`, authority(given, "mcdoc")),
        public(`metacrypt.{at.public_domain}`, `{at.overlay}:18080`, authority(given, "metacrypt-web")),
    }
    return table.freeze(platform)
end

--- The platform of the inventory at `path`, which is absolute or relative to the script's folder.
function services.read(path: string?): Platform
    return services.on(inventory.read { path = path or "inventory.toml" })
end

return table.freeze(services)
