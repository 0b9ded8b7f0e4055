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
    test.forget()
    return { params = { inventory = "/etc/inventory.toml" } }
end

local boot_order = {
    "mcns",
    "mc-proxy", "mcr-api", "mcr-web", "metacrypt-api", "metacrypt-web",
    "mcp-master",
    "mcq", "mcdoc", "mcat", "kls", "sgardd",
}

local function subjects(ran: any, effect: string): any
    local found = {}
    for _, done in ran.effects do
        if done.effect == effect then
            table.insert(found, done.subject)
        end
    end
    return found
end

test("the plan tells everything that the deploy does, in boot order", function()
    local ran = test.plan_equals_apply("./deploy.lua", inventory())
    test.equal(ran.exit_code, 0)
    test.equal(subjects(ran, "containers.ensure"), boot_order)
    test.equal(subjects(ran, "registry.put"), boot_order)
    test.equal(#containers.list {}, 12)
end)

test("a second deploy changes nothing", function()
    local options = inventory()
    test.run("./deploy.lua", options)
    test.equal(test.run("./deploy.lua", options).changed, false)
end)

test("ports are those of the record, and routes lead to them", function()
    local ran = test.run("./deploy.lua", inventory())
    test.equal(subjects(ran, "ports.allocate"), {})
    local function backends(listen: number, name: string): any
        return (routes.get { listen = listen, hostname = name } :: any).backends
    end
    test.equal(backends(443, "metacrypt.svc.mcp.metacircular.net"), { "127.0.0.1:18080" })
    test.equal(backends(8443, "mcr.svc.mcp.metacircular.net"), { "127.0.0.1:28443" })
    test.equal(backends(9443, "sgardd.svc.mcp.metacircular.net"), { "127.0.0.1:19473" })
    test.equal(backends(443, "docs.metacircular.net"), { "100.95.252.120:38080" })
end)

test("undeploy leaves nothing", function()
    local options = inventory()
    test.run("./deploy.lua", options)
    test.plan_equals_apply("./undeploy.lua", options)
    test.equal({ #containers.list {}, #routes.list {}, #certs.list {}, #registry.list {} }, { 0, 0, 0, 0 })
    test.equal(test.run("./undeploy.lua", options).changed, false)
end)

test("without ingress ports no name is taken, and everything runs all the same", function()
    local options = inventory()
    local text = files.read({ path = "/etc/inventory.toml" }).content
    files.write { path = "/etc/inventory.toml", content = string.gsub(text, "%[variables%.ingress%][^%[]*", "") }
    test.equal(test.run("./deploy.lua", options).exit_code, 0)
    test.equal(#containers.list {}, 12)
    test.equal(#routes.list { listen = 8443 }, 0)
end)

test("a machine that the inventory does not name is left alone", function()
    local ran: any = test.run("./deploy.lua")
    test.equal(ran.error.code, "MC-N002")
    test.equal(#containers.list {}, 0)
end)

test("nothing that is meant for another machine is done on this one", function()
    local options = inventory()
    test.run("./deploy.lua", options)
    test.forget()
    for _, script in { "./deploy.lua", "./boot.lua", "./recover.lua", "./undeploy.lua" } do
        local ran: any = test.run(script)
        test.equal({ script, ran.error.code, ran.changed }, { script, "MC-N002", false })
    end
    test.equal(#containers.list {}, 12)
end)

test("a service of which the inventory says another node is left to that one", function()
    local options = inventory()
    local text = files.read({ path = "/etc/inventory.toml" }).content
    local orion = '[nodes.orion]\naddresses = ["192.168.88.214"]\n[nodes.orion.variables]\nlan = "192.168.88.214"\n'
        .. 'overlay = "100.64.0.9"\nloopback = "127.0.0.1"\nsrv = "/data"\n[services.kls]\nnode = "orion"\n'
    files.write { path = "/etc/inventory.toml", content = `{text}\n{orion}` }
    test.equal(test.run("./deploy.lua", options).exit_code, 0)
    test.equal(containers.get { name = "kls" }, nil)
    test.equal(#containers.list {}, 11)
    -- Whoever reaches it from outside does so at its own node.
    local route: any = routes.get { listen = 443, hostname = "kls.metacircular.net" }
    test.equal(route.backends, { "100.64.0.9:58080" })
end)

test("an inventory that lacks something says what", function()
    local options = inventory()
    local text = files.read({ path = "/etc/inventory.toml" }).content
    files.write { path = "/etc/inventory.toml", content = string.gsub(text, "overlay = \"[%d.]+\"", "") }
    local ran: any = test.run("./deploy.lua", options)
    test.equal(ran.error.message, "the inventory's nodes.test.variables.overlay is missing")
end)
