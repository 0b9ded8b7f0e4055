--!strict
local test = require("@std/test")

test("a machine without images has nothing to prune", function()
    local ran = test.plan_equals_apply("./prune-images.lua", { event = { kind = "cron" } })
    test.equal(ran.exit_code, 0)
end)
