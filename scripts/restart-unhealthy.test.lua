--!strict
local test = require("@std/test")

local function service(name: string)
    containers.ensure {
        name = name,
        image = "localhost/web:v1",
        ports = { { host = 8080, container = 8080 } },
        health = { http = "/health", within = "1s" },
    }
end

local unhealthy = { kind = "event", name = "service.unhealthy", data = { service = "web", container = "web" } }

local function restarts(ran): { string }
    local names = {}
    for _, effect in ran.effects do
        if effect.effect == "containers.restart" then
            table.insert(names, effect.subject)
        end
    end
    return names
end

test("what answers is left alone", function()
    service("web")
    local ran = test.plan_equals_apply("./restart-unhealthy.lua", { event = unhealthy })
    test.equal(ran.exit_code, 0)
    test.equal(restarts(ran), {})
end)

test("what does not answer is restarted, and nothing else", function()
    service("web")
    service("other")
    test.fault { effect = "containers.wait_healthy", subject = "web", times = 1, code = "MC-C010" }
    local ran = test.run("./restart-unhealthy.lua", { event = unhealthy })
    test.equal(ran.exit_code, 0)
    test.equal(restarts(ran), { "web" })
end)

test("what does not come back fails the run", function()
    service("web")
    test.fault { effect = "containers.wait_healthy", subject = "web", code = "MC-C010" }
    local ran = test.run("./restart-unhealthy.lua", { event = unhealthy })
    test.equal(ran.exit_code, 1)
    test.equal(restarts(ran), { "web" })
end)

test("what was stopped stays stopped", function()
    service("web")
    containers.stop { name = "web" }
    local ran = test.run("./restart-unhealthy.lua", { event = unhealthy })
    test.equal(ran.exit_code, 0)
    test.equal(restarts(ran), {})
end)
