--!strict
-- deploy.test.lua: what deploy.lua does, on a machine in memory. `mcrun test` runs it.
local test = require("@std/test")

test("the plan tells everything that the deploy does", function()
    local ran = test.plan_equals_apply("./deploy.lua")
    test.equal(ran.exit_code, 0)
end)

test("a second deploy changes no container", function()
    test.run("./deploy.lua")
    for _, effect in test.run("./deploy.lua").effects do
        test.equal(effect.effect == "containers.ensure" and effect.changed, false)
    end
end)

test("a service that never becomes healthy is taken away again", function()
    test.fault { effect = "containers.wait_healthy", code = "MC-H001" }
    test.equal(test.run("./deploy.lua").exit_code, 7)
    test.equal(#containers.list {}, 0)
end)
