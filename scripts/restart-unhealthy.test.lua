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

test("whoever else is ill is restarted with the one that was told of", function()
    for index, name in { "a", "b", "c", "web" } do
        service(name, tostring(8080 + index))
        test.fault { effect = "containers.wait_healthy", subject = name, times = 1, code = "MC-H001" }
    end
    local ran = test.run("./restart-unhealthy.lua", { event = unhealthy })
    test.equal(ran.exit_code, 0)
    test.equal(restarts(ran), { "web", "a", "b", "c" })
end)

test("one that cannot be restarted does not keep the next from it, and fails the run", function()
    for index, name in { "a", "b", "c", "d" } do
        service(name, tostring(8080 + index))
        test.fault { effect = "containers.wait_healthy", subject = name, times = 1, code = "MC-H001" }
    end
    test.fault { effect = "containers.restart", subject = "a", code = "MC-C002" }
    local ran = test.run("./restart-unhealthy.lua")
    test.equal(ran.exit_code, 1)
    test.equal(restarts(ran), { "a", "b", "c", "d" })
end)

test("what may not be restarted is told as such", function()
    service("web", "8080")
    test.fault { effect = "containers.wait_healthy", subject = "web", times = 1, code = "MC-H001" }
    local ran: any = test.run("./restart-unhealthy.lua", { allow = { "containers:read" } })
    test.equal(ran.exit_code, 4)
end)
