--!strict
local deploy = require("@std/deploy")
local snapshot = require("@std/snapshot")
local test = require("@std/test")

local function filled(used: number, times: number?)
    test.answer { effect = "files.space", result = { used = used }, times = times }
end

--- A service with three releases, five snapshots and data.
local function service()
    files.write { path = "/srv/web/a.txt", content = "data", parents = true }
    for _, version in { "v1", "v2", "v3" } do
        deploy.rollout(deploy.service { name = "web", image = `mcr.example/web:{version}`, volumes = { "/srv/web:/srv/web" } })
    end
    for _ = 1, 5 do
        snapshot.take { service = "web", mode = "live" }
        sleep("10d")
    end
end

local function removed(ran: any): { any }
    local found: { any } = {}
    for _, effect in ran.effects do
        if effect.effect == "images.remove" or effect.effect == "files.remove" or effect.effect == "notify.event" then
            table.insert(found, `{effect.effect} {if effect.effect == "files.remove" then "" else effect.subject}`)
        end
    end
    return found
end

test("a disk with room is left alone", function()
    service()
    local ran = test.plan_equals_apply("./disk-guard.lua")
    test.equal(ran.exit_code, 0)
    test.equal(removed(ran), {})
end)

test("images go first, and snapshots stay where that is enough", function()
    service()
    -- Three disks are looked at before, and nothing is full behind.
    filled(0.95, 3)
    local ran = test.run("./disk-guard.lua")
    test.equal(ran.exit_code, 0)
    test.equal(removed(ran), { "images.remove mcr.example/web:v1", "notify.event disk.freed" })
    test.equal(#snapshot.list({ service = "web" }), 5)
end)

test("snapshots go but for the newest, data never does, and a disk that stays full fails the run", function()
    service()
    filled(0.95)
    local ran = test.plan_equals_apply("./disk-guard.lua", { params = { keep = 2 } })
    test.equal(ran.exit_code, 1)
    test.equal(removed(ran), {
        "images.remove mcr.example/web:v1",
        "files.remove ",
        "files.remove ",
        "files.remove ",
        "notify.event disk.full",
    })
    test.equal(#snapshot.list({ service = "web" }), 2)
    test.equal(files.read({ path = "/srv/web/a.txt" }).content, "data")
end)

test("keeping none is refused", function()
    filled(0.95)
    test.equal(test.run("./disk-guard.lua", { params = { keep = 0 } }).exit_code, 1)
end)
