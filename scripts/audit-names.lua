--!strict
-- audit-names.lua: looks whether every deployed service is reached by its names as the registry has it. It changes nothing.
--
-- Every quarter of an hour it looks at each service that is recorded with host names: whether its routes stand and lead to the
-- recorded back ends, whether each back end takes a connection, whether each recorded name leads where it should, and whether
-- a certificate is overdue: halfway between the time at which it should have been renewed and its end. Public routes that nobody
-- outside can reach, since they are published on the loopback address only, are named as well. By hand, for one service:
--
--     mcrun start audit-names --service mcq
--
-- A roll-out under way looks amiss for a moment: what is found counts only when it is still so after `settle`. Each finding is a
-- warning in the log, and the run fails with the list of them, which `run.failed` tells. A service that somebody stopped has
-- neither routes nor names, and is left out.
--
-- It looks at what the operator's policy lets it:
--
--     [policy]
--     scripts = ["registry:read", "containers:read", "routes:read", "health:read", "dns:read", "certs:read"]

--- How many findings the error names; the log has all.
local MOST_NAMED = 20

--- Collects the findings of one look, each once, in order.
type Findings = { lines: { string }, known: { [string]: boolean } }

local function add(findings: Findings, line: string)
    if not findings.known[line] then
        findings.known[line] = true
        table.insert(findings.lines, line)
    end
end

--- Calls `body`; its error as a text, nil where it passes. What is not granted is an error of its own.
local function problem(body: () -> ()): string?
    local passed, raised: any = pcall(body)
    if passed then
        return nil
    elseif type(raised) ~= "table" then
        return tostring(raised)
    elseif raised.code == "MC-P001" then
        error(raised, 0)
    end
    return `{raised.code}: {raised.message}`
end

--- A text that is the same for the same values in any order.
local function set(values: any): string
    local sorted: { string } = {}
    for _, value in values or {} do
        table.insert(sorted, string.lower(value))
    end
    table.sort(sorted)
    return if #sorted == 0 then "nothing" else table.concat(sorted, ", ")
end

local function is_loopback(address: string): boolean
    return string.match(address, "^127%.") ~= nil or address == "::1" or string.match(address, "^%[::1%]") ~= nil
end

--- Whether all of them are on the loopback address, and there is one at least.
local function all_loopback(addresses: any): boolean
    local seen = false
    for _, address in addresses or {} do
        if not is_loopback(address) then
            return false
        end
        seen = true
    end
    return seen
end

local function standing(route: any): any
    return routes.get { listen = route.listen, hostname = route.hostname, path = route.path, node = route.node }
end

--- A service that was stopped: none of its containers runs, and its routes are gone with that.
local function is_stopped(spec: any): boolean
    for _, container in spec.containers or {} do
        local live = containers.get { name = container.name, node = container.node }
        if live and live.state == "running" then
            return false
        end
    end
    for _, route in spec.ingress.routes do
        if standing(route) then
            return false
        end
    end
    return true
end

local function look_at_route(findings: Findings, service: string, route: any)
    local where = `{service}: the route {route.hostname}:{route.listen}{route.path or ""}`
    local found: any = nil
    local why = problem(function()
        found = standing(route)
    end)
    if why then
        add(findings, `{where} cannot be looked at: {why}`)
    elseif not found then
        add(findings, `{where} does not stand`)
    elseif set(found.backends) ~= set(route.backends) then
        add(findings, `{where} leads to {set(found.backends)}, and should to {set(route.backends)}`)
    end
    for _, address in route.backends or {} do
        local refused = problem(function()
            health.tcp { address = address, within = "2s", timeout = "2s" }
        end)
        if refused then
            add(findings, `{service}: the back end {address} of {route.hostname} does not answer`)
        end
    end
end

local function hostname_of(record: any): string
    return if record.name == "@" then record.zone else `{record.name}.{record.zone}`
end

local function look_at_name(findings: Findings, service: string, record: any)
    local name = hostname_of(record)
    local found: any = nil
    local why = problem(function()
        found = dns.resolve { name = name, type = record.type }
    end)
    local values = set(if found then found.values else nil)
    if why then
        add(findings, `{service}: nobody says where {name} leads: {why}`)
    elseif values ~= set(record.values) then
        add(findings, `{service}: {name} {record.type} is {values}, and should be {set(record.values)}`)
    end
end

local function look_at_certificate(findings: Findings, service: string, id: string, node: string?)
    local found: any = nil
    local why = problem(function()
        found = certs.get { id = id, node = node }
    end)
    local at = now() * 1000
    if why then
        add(findings, `{service}: the certificate {id} cannot be looked at: {why}`)
    elseif not found then
        add(findings, `{service}: there is no certificate {id}`)
    elseif found.revoked then
        add(findings, `{service}: the certificate {id} is revoked`)
    elseif at >= found.not_after then
        add(findings, `{service}: the certificate {id} has expired`)
    -- Lifetimes are of hours or of months: it is overdue when it should have been renewed long ago.
    elseif at >= found.renew_at + (found.not_after - found.renew_at) / 2 then
        local hours = math.ceil((found.not_after - at) / 3600000)
        add(findings, `{service}: the certificate {id} was not renewed and expires within {hours} h`)
    end
end

--- The proxy of this machine finds back ends on the loopback address, that of another does not. A name that leads to the
--- loopback address leads everybody to their own machine.
local function look_at_public(findings: Findings, service: string, route: any, record: any)
    local hostname: string, is_public: any = route.hostname, route.public
    if not is_public then
        return
    end
    if routes.features({ node = route.node }).driver == "remote" and all_loopback(route.backends) then
        add(findings, `{service}: {hostname} is public, and its containers are published on the loopback address only`)
    end
    for _, item in record.records do
        if string.lower(hostname_of(item)) == string.lower(hostname) and all_loopback(item.values) then
            add(findings, `{service}: {hostname} is public, and its name leads to the loopback address only`)
        end
    end
end

local function look_at_service(findings: Findings, service: string, record: any)
    local ids: { [string]: boolean } = {}
    for _, route in record.routes do
        look_at_route(findings, service, route)
        look_at_public(findings, service, route, record)
    end
    for _, item in record.records do
        look_at_name(findings, service, item)
    end
    for _, item in record.certs do
        ids[item.name] = true
        look_at_certificate(findings, service, item.name, item.node)
    end
    for _, route in record.routes do
        -- Routes may show one that is not the service's own.
        local id: any = route.cert
        if type(id) == "string" and not ids[id] then
            ids[id] = true
            look_at_certificate(findings, service, id, route.node)
        end
    end
end

--- Everything that is amiss now.
local function look(): Findings
    local findings: Findings = { lines = {}, known = {} }
    for _, found in registry.list {} do
        local spec: any = found.spec
        local record: any = if type(spec) == "table" then spec.ingress else nil
        if type(record) == "table" and (params.service == "" or params.service == found.service) then
            if not is_stopped(spec) then
                look_at_service(findings, found.service, record)
            end
        end
    end
    return findings
end

return playbook {
    name = "audit-names",
    description = "Looks whether every service is reached by its names as it is recorded",
    on = { cron = "*/15 * * * *" } :: any,
    allow = { "registry:read", "containers:read", "routes:read", "health:read", "dns:read", "certs:read" },
    params = {
        service = { type = "string", default = "", description = "This service alone" },
        settle = { type = "duration", default = "1m", description = "How long something has to be amiss before it counts" },
    } :: any,
    overlap = "skip",
    catch_up = "skip",
    timeout = "1h",
    run = function(_event)
        if params.service ~= "" and registry.get { service = params.service } == nil then
            fail(`there is no service \`{params.service}\``)
        end
        local before = look()
        if #before.lines == 0 then
            return
        end
        sleep(params.settle)
        local lasting: { string } = {}
        for _, line in look().lines do
            if before.known[line] then
                log.warn(line)
                table.insert(lasting, line)
            end
        end
        if #lasting > 0 then
            local named = table.concat(lasting, "; ", 1, math.min(#lasting, MOST_NAMED))
            local more = if #lasting > MOST_NAMED then `; and {#lasting - MOST_NAMED} more, in the run's log` else ""
            fail(`{#lasting} findings: {named}{more}`)
        end
    end,
}
