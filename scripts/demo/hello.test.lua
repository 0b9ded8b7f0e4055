--!strict
local test = require("@std/test")

local options = { params = { mcrun = "/usr/local/bin/mcrun" } }

test("the plan tells everything that the deploy does", function()
    local ran = test.plan_equals_apply("./hello.lua", options)
    test.equal(ran.exit_code, 0)
    test.equal(#containers.list {}, 1)
end)

test("a second deploy changes no container", function()
    test.run("./hello.lua", options)
    for _, effect in test.run("./hello.lua", options).effects do
        test.equal(effect.effect == "containers.ensure" and effect.changed, false)
    end
end)

test("without capabilities nothing happens", function()
    local refused = test.run("./hello.lua", { params = options.params, allow = {} })
    test.equal(refused.exit_code, 4)
    test.equal(#containers.list {}, 0)
end)
