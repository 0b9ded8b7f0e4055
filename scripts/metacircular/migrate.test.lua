--!strict
local test = require("@std/test")

--- The inventory that ships, with the machine of the test as both of its nodes, and data of one service.
local function deployed(): any
    local text = files.read({ path = "inventory.toml" }).content
    for _, name in { "rift", "svc" } do
        text = string.gsub(text, `= "{name}"`, '= "test"')
    end
    text = string.gsub(text, "nodes%.rift", "nodes.test")
    files.write { path = "/etc/inventory.toml", content = text, parents = true }
    files.write { path = "/srv/mcr/registry.db", content = "blobs", parents = true }
    local options = { params = { inventory = "/etc/inventory.toml" } }
    test.run("./deploy.lua", options)
    return options
end

--- The inventory has the data on another disk from now on.
local function elsewhere()
    local text = files.read({ path = "/etc/inventory.toml" }).content
    files.write { path = "/etc/inventory.toml", content = string.gsub(text, 'srv = "/srv"', 'srv = "/disk"') }
    test.forget()
end

local function volume(name: string): string
    return (containers.get { name = name } :: any).volumes[1]
end

test("data goes along, with all that have the folder, and the old folder stays", function()
    local options = deployed()
    files.directory { path = "/disk" }
    elsewhere()
    options.params.service = "mcr-api"
    local ran: any = test.run("./migrate.lua", options)
    test.equal(ran.error, nil)
    test.equal(files.read({ path = "/disk/mcr/registry.db" }).content, "blobs")
    test.equal(files.read({ path = "/srv/mcr/registry.db" }).content, "blobs")
    for _, name in { "mcr-api", "mcr-web" } do
        test.equal(string.match(volume(name), "^[^:]+"), "/disk/mcr")
        test.equal((containers.get { name = name } :: any).state, "running")
    end
    test.equal(string.match(volume("mcq"), "^[^:]+"), "/srv/mcq")
    test.equal(test.run("./migrate.lua", options).changed, false)
end)

test("what lies in the new folder is not overwritten", function()
    local options = deployed()
    files.write { path = "/disk/mcr/other", content = "theirs", parents = true }
    elsewhere()
    options.params.service = "mcr-api"
    local ran: any = test.run("./migrate.lua", options)
    test.equal({ ran.error.code, ran.changed }, { "MC-F001", false })
end)

test("a migration that fails leaves everything running where it was", function()
    local options = deployed()
    elsewhere()
    options.params.service = "mcr-api"
    test.fault { effect = "files.restore", code = "MC-F002" }
    local ran: any = test.run("./migrate.lua", options)
    test.equal(ran.error.code, "MC-F002")
    for _, name in { "mcr-api", "mcr-web" } do
        test.equal(string.match(volume(name), "^[^:]+"), "/srv/mcr")
        test.equal((containers.get { name = name } :: any).state, "running")
    end
end)

test("what shares a folder goes together or not at all", function()
    local options = deployed()
    files.directory { path = "/disk" }
    elsewhere()
    options.params.service = "mcr-api"
    test.fault { effect = "containers.wait_healthy", subject = "mcr-web", code = "MC-H001", times = 2 }
    local ran: any = test.run("./migrate.lua", options)
    test.equal(ran.error.code, "MC-R002")
    for _, name in { "mcr-api", "mcr-web" } do
        test.equal(string.match(volume(name), "^[^:]+"), "/srv/mcr")
        test.equal((containers.get { name = name } :: any).state, "running")
    end
end)

test("another machine and a service that there is not are refused", function()
    local options = deployed()
    options.params.service = "mcqq"
    local ran: any = test.run("./migrate.lua", options)
    test.equal(ran.error.code, "MC-R001")
    local there: any = test.run("./migrate.lua", { params = { service = "mcq" } })
    test.equal(there.error.code, "MC-N002")
end)
