--!strict
local test = require("@std/test")

local lost = { kind = "event", name = "engine.lost", data = { driver = "podman", recorded = 1, found = 0 } }

--- A service whose container is not there.
local function missing()
    registry.put { service = "web", spec = { containers = { { name = "web", image = "x/web:v1" } }, checks = {} } }
end

test("what runs as recorded is left alone", function()
    local ran = test.plan_equals_apply("./recover-engine.lua", { event = lost, params = { ask = false } })
    test.equal(ran.exit_code, 0)
    test.equal(ran.changed, false)
end)

test("an engine that has everything again is left alone", function()
    test.equal(test.run("./recover-engine.lua", { event = lost }).exit_code, 0)
end)

test("nothing is done before somebody has agreed", function()
    missing()
    local ran = test.run("./recover-engine.lua", { event = lost })
    test.equal(ran.exit_code, 6)
end)
