--!strict
local test = require("@std/test")

--- The inventory that ships, with the machine of the test as both of its nodes.
local function inventory(): any
    local text = files.read({ path = "inventory.toml" }).content
    for _, name in { "rift", "svc" } do
        text = string.gsub(text, `= "{name}"`, '= "test"')
    end
    text = string.gsub(text, "nodes%.rift", "nodes.test")
    files.write { path = "/etc/inventory.toml", content = text, parents = true }
    test.answer { effect = "dns.resolve", result = { values = { "127.0.0.1" } } }
    test.forget()
    return { params = { inventory = "/etc/inventory.toml" } }
end

test("a boot leaves alone what runs", function()
    local options = inventory()
    test.equal(test.run("./deploy.lua", options).exit_code, 0)
    local ran = test.plan_equals_apply("./boot.lua", options)
    test.equal(ran.exit_code, 0)
    test.equal(ran.changed, false)
end)

test("a recovery leaves alone what runs", function()
    local options = inventory()
    test.run("./deploy.lua", options)
    local ran = test.plan_equals_apply("./recover.lua", options)
    test.equal(ran.exit_code, 0)
    test.equal(ran.changed, false)
end)

test("a stage that fails ends the boot before the next", function()
    local options = inventory()
    test.run("./deploy.lua", options)
    test.fault { effect = "containers.wait_healthy", subject = "mcns", code = "MC-H001" }
    local ran: any = test.run("./boot.lua", options)
    test.equal(ran.exit_code, 1)
    test.equal(ran.error.code, "MC-R005")
end)
