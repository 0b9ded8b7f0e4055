--!strict
local test = require("@std/test")

local FOLDER = "/var/backups/mcrun/state"

local function backups(): { any }
    return registry.backups { path = FOLDER } :: any
end

local function night(params: any?)
    local ran = test.plan_equals_apply("./backup-registry.lua", { params = params or {}, event = { kind = "cron" } })
    test.equal(ran.exit_code, 0)
    return ran
end

test("every night has its backup, and the oldest go", function()
    for _ = 1, 4 do
        night({ keep = 3 })
        sleep("1d")
    end
    local found = backups()
    test.equal(#found, 3)
    test.equal(found[1].node, "test")
    test.equal(found[1].sealed, false)
    test.equal(found[1].taken > found[3].taken, true)
end)

test("a backup that cannot be taken removes none of those that there are", function()
    night({ keep = 1 })
    sleep("1d")
    local before = backups()
    test.fault { effect = "registry.backup", code = "MC-J006" }
    test.equal(test.run("./backup-registry.lua", { params = { keep = 1 } }).exit_code, 1)
    test.equal(backups(), before)
end)

test("one that is sealed says so in its name", function()
    night({ seal = "backup/passphrase" })
    local found = backups()
    test.equal(#found, 1)
    test.equal(found[1].sealed, true)
end)

test("the right to the registry alone is not enough", function()
    local ran = test.run("./backup-registry.lua", { allow = { "files", "nodes", "registry" } })
    test.equal(ran.exit_code, 4)
    test.equal(backups(), {})
end)

test("keeping none is refused before anything is done", function()
    test.equal(test.run("./backup-registry.lua", { params = { keep = 0 } }).exit_code, 1)
    test.equal(backups(), {})
end)
