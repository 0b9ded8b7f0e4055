--!strict
local test = require("@std/test")

local function service(name: string, port: string)
    test.equal(test.run("./demo/web.lua", { args = { name, port } }).exit_code, 0)
end

local unhealthy = { kind = "event", name = "service.unhealthy", data = { container = "web" } }

local function restarts(ran: any): { any }
    local names: { any } = {}
    for _, effect in ran.effects do
        if effect.effect == "containers.restart" then
            table.insert(names, effect.subject)
        end
    end
    return names
end

test("what answers is left alone", function()
    service("web", "8080")
    local ran = test.plan_equals_apply("./restart-unhealthy.lua", { event = unhealthy })
    test.equal(ran.exit_code, 0)
    test.equal(restarts(ran), {})
end)

test("what does not answer is restarted, and nothing else", function()
    service("web", "8080")
    service("other", "8081")
    test.fault { effect = "containers.wait_healthy", subject = "web", times = 1, code = "MC-H001" }
    local ran = test.run("./restart-unhealthy.lua", { event = unhealthy })
    test.equal(ran.exit_code, 0)
    test.equal(restarts(ran), { "web" })
end)

test("what does not come back fails the run", function()
    service("web", "8080")
    test.fault { effect = "containers.wait_healthy", subject = "web", code = "MC-H001" }
    local ran = test.run("./restart-unhealthy.lua", { event = unhealthy })
    test.equal(ran.exit_code, 1)
    test.equal(restarts(ran), { "web" })
end)

test("what was stopped stays stopped", function()
    service("web", "8080")
    test.run("./demo/web.lua", { args = { "web", "8080", "stop" } })
    local ran = test.run("./restart-unhealthy.lua", { event = unhealthy })
    test.equal(ran.exit_code, 0)
    test.equal(restarts(ran), {})
end)
