--!strict
local test = require("@std/test")

local function certificate(name: string)
    return certs.ensure { hostnames = { name } }
end

test("a certificate whose time has not come is left alone", function()
    certificate("hello.mcrun.test")
    local ran = test.plan_equals_apply("./renew-certificates.lua")
    test.equal(ran.exit_code, 0)
    for _, effect in ran.effects do
        test.equal(effect.effect == "certs.renew", false)
    end
end)

test("one that nobody renewed is renewed at night, and the other is not", function()
    certificate("late.mcrun.test")
    sleep("80d")
    certificate("fresh.mcrun.test")
    local ran = test.plan_equals_apply("./renew-certificates.lua", { event = { kind = "cron" } })
    test.equal(ran.exit_code, 0)
    local renewed = {}
    for _, effect in ran.effects do
        if effect.effect == "certs.renew" then
            table.insert(renewed, effect.subject)
        end
    end
    test.equal(renewed, { "late.mcrun.test" })
end)

test("one by its name is renewed at any time", function()
    certificate("hello.mcrun.test")
    local ran = test.run("./renew-certificates.lua", { params = { id = "hello.mcrun.test" } })
    test.equal(ran.exit_code, 0)
    test.equal(test.run("./renew-certificates.lua", { params = { id = "other.mcrun.test" } }).exit_code, 1)
end)

test("a certificate that cannot be renewed does not keep the next from it, and fails the run", function()
    certificate("a.mcrun.test")
    certificate("b.mcrun.test")
    sleep("80d")
    test.fault { effect = "certs.renew", subject = "a.mcrun.test", code = "MC-E010" }
    local ran = test.run("./renew-certificates.lua")
    test.equal(ran.exit_code, 1)
    local tried = 0
    for _, effect in ran.effects do
        tried += if effect.effect == "certs.renew" then 1 else 0
    end
    test.equal(tried, 2)
end)
