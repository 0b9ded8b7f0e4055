--!strict
local snapshot = require("@std/snapshot")
local test = require("@std/test")

local function release(name: string, volumes: { string }?)
    -- By a run of its own, so that the service is nobody's when the next one stops it.
    local args = { name }
    for _, volume in volumes or {} do
        table.insert(args, volume)
    end
    test.equal(test.run("./demo/volumes.lua", { args = args }).exit_code, 0)
end

local function data(path: string, content: string)
    files.write { path = path, content = content, parents = true }
end

local function effects_of(ran: any, name: string): { any }
    local subjects: { any } = {}
    for _, effect in ran.effects do
        if effect.effect == name then
            table.insert(subjects, effect.subject)
        end
    end
    return subjects
end

test("every service with folders has its snapshots, stopped meanwhile and running again", function()
    data("/srv/web/a.txt", "one")
    data("/srv/db/b.txt", "two")
    release("web", { "/srv/web:/srv/web", "/etc/web:/etc/web:ro" })
    release("db", { "/srv/db:/srv/db" })
    release("stateless")
    local ran = test.plan_equals_apply("./snapshots.lua")
    test.equal(ran.exit_code, 0)
    test.equal(effects_of(ran, "files.snapshot"), { "/srv/db", "/srv/web" })
    test.equal(#effects_of(ran, "containers.stop"), 2)
    for _, container in containers.list {} do
        test.equal(container.state, "running")
    end
    test.equal(snapshot.verify({ service = "web" }).source, "/srv/web")
end)

test("old snapshots go, and one that cannot be taken removes none", function()
    data("/srv/web/a.txt", "one")
    release("web", { "/srv/web:/srv/web" })
    for _ = 1, 4 do
        test.equal(test.plan_equals_apply("./snapshots.lua", { params = { keep = 2 } }).exit_code, 0)
        sleep("1d")
    end
    local before = snapshot.list { service = "web" }
    test.equal(#before, 2)
    test.fault { effect = "files.snapshot" }
    test.equal(test.run("./snapshots.lua", { params = { keep = 1 } }).exit_code, 1)
    test.equal(snapshot.list { service = "web" }, before)
    for _, container in containers.list {} do
        test.equal(container.state, "running")
    end
end)

test("a service that is paused goes on, and one that is live is not touched", function()
    data("/srv/web/a.txt", "one")
    release("web", { "/srv/web:/srv/web" })
    local paused = test.plan_equals_apply("./snapshots.lua", { params = { mode = "pause" } })
    test.equal(#effects_of(paused, "containers.pause"), 1)
    test.equal(#effects_of(paused, "containers.start"), 1)
    sleep("1d")
    local live = test.plan_equals_apply("./snapshots.lua", { params = { mode = "live" } })
    test.equal(#effects_of(live, "containers.start"), 0)
    test.equal(#snapshot.list({ service = "web" }), 2)
end)

test("a restore brings back what was there and keeps what took its place", function()
    data("/srv/web/a.txt", "one")
    release("web", { "/srv/web:/srv/web" })
    snapshot.take { service = "web" }
    data("/srv/web/a.txt", "two")
    local kept = snapshot.restore { service = "web" } or ""
    test.equal(files.read({ path = "/srv/web/a.txt" }).content, "one")
    test.equal(files.read({ path = `{kept}/a.txt` }).content, "two")
    test.equal(snapshot.restore { service = "web" }, nil)
end)

test("another service's snapshot is refused", function()
    data("/srv/web/a.txt", "one")
    data("/srv/db/b.txt", "two")
    local taken = snapshot.take { service = "web" }
    test.fails("MC-F004", function()
        snapshot.restore { service = "db", from = taken[1], volume = "/srv/db" }
    end)
    test.equal(files.read({ path = "/srv/db/b.txt" }).content, "two")
end)

test("what is sealed is listed and goes without its key, and is not opened without", function()
    data("/srv/web/a.txt", "one")
    release("web", { "/srv/web:/srv/web" })
    local seal = "age1sy4rg9rdvcwmfl40eaqlcrfrn3cg0hslf73mrjar2mykyywj6ytsxkk9q0"
    for _ = 1, 2 do
        test.equal(test.plan_equals_apply("./snapshots.lua", { params = { keep = 1, seal = seal } }).exit_code, 0)
        sleep("1d")
    end
    local found = snapshot.list { service = "web" }
    test.equal(#found, 1)
    test.equal(found[1].sealed, true)
    test.fails("MC-F004", function()
        snapshot.verify { service = "web" }
    end)
end)

test("a service that is not there is an error", function()
    test.equal(test.run("./snapshots.lua", { params = { service = "none" } }).exit_code, 1)
end)
