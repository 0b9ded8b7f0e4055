--!strict
local test = require("@std/test")

local lost = { kind = "event", name = "engine.lost", data = { driver = "podman", recorded = 1, found = 0 } }


test("what runs as recorded is left alone", function()
    local ran = test.plan_equals_apply("./recover-engine.lua", { event = lost, params = { ask = false } })
    test.equal(ran.exit_code, 0)
    test.equal(ran.changed, false)
end)

test("nothing is done before somebody has agreed", function()
    local ran = test.run("./recover-engine.lua", { event = lost })
    test.equal(ran.exit_code, 6)
end)
