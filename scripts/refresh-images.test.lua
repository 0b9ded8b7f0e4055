--!strict
local deploy = require("@std/deploy")
local test = require("@std/test")

--- By a run of its own, so that the service is nobody's when the next one rolls it out.
local function service(name: string)
    test.equal(test.run("./demo/volumes.lua", { args = { name } }).exit_code, 0)
end

--- Lets the tag of a service mean another image in its registry, and returns its digest.
local function move(name: string, digit: string): string
    local digest = "sha256:" .. string.rep(digit, 64)
    images.ensure { image = `mcr.example/{name}@{digest}` }
    images.tag { image = `mcr.example/{name}@{digest}`, tag = `mcr.example/{name}:v1` }
    test.equal(images.digest({ image = `mcr.example/{name}:v1` }).digest, digest)
    return digest
end

--- What the recorded container runs: its successor may have another name.
local function running(name: string): any
    local found: any = registry.get { service = name }
    local live: any = containers.get { name = found.spec.containers[1].name }
    test.equal(live.state, "running")
    return live.image_id
end

local function rolled_out(ran: any): { any }
    local names: { any } = {}
    for _, effect in ran.effects do
        if effect.effect == "registry.put" and effect.changed then
            table.insert(names, effect.subject)
        end
    end
    return names
end

local at_once = { params = { ask = false } }

test("a tag that means what runs is left alone", function()
    service("web")
    local ran = test.plan_equals_apply("./refresh-images.lua")
    test.equal(ran.exit_code, 0)
    test.equal(ran.changed, false)
end)

test("a tag that has moved is told and waits for somebody, and nothing is rolled out before", function()
    service("web")
    local before = running("web")
    move("web", "2")
    local ran = test.run("./refresh-images.lua")
    test.equal(ran.exit_code, 6)
    test.equal(rolled_out(ran), {})
    test.equal(running("web"), before)
    local told = 0
    for _, effect in ran.effects do
        told += if effect.effect == "notify.event" and effect.subject == "images.moved" then 1 else 0
    end
    test.equal(told, 1)
end)

test("what a tag means now is what runs and what is recorded, and the next night finds nothing", function()
    service("web")
    service("other")
    local digest = move("web", "2")
    local other = running("other")
    local ran = test.plan_equals_apply("./refresh-images.lua", at_once)
    test.equal(ran.exit_code, 0)
    test.equal(rolled_out(ran), { "web" })
    test.equal(running("web"), digest)
    test.equal(running("other"), other)
    local found: any = registry.get { service = "web" }
    test.equal(string.match(found.spec.containers[1].image, "@(.+)$"), digest)
    test.equal(found.version, "v1")
    test.equal(test.run("./refresh-images.lua", at_once).changed, false)
end)

test("a roll-out that fails goes back, keeps no other from its own, and fails the run", function()
    service("a")
    service("b")
    move("a", "2")
    local digest = move("b", "3")
    local before = running("a")
    test.fault { effect = "containers.ensure", subject = "a-b", times = 1, outcome = "loses_answer" }
    local ran = test.run("./refresh-images.lua", at_once)
    test.equal(ran.exit_code, 1)
    test.equal(rolled_out(ran), { "b" })
    test.equal(running("a"), before)
    test.equal(running("b"), digest)
end)

test("a registry that does not say what a tag means has nothing done", function()
    service("web")
    move("web", "2")
    test.fault { effect = "images.digest", code = "MC-I002" }
    local ran = test.run("./refresh-images.lua", at_once)
    test.equal(ran.exit_code, 0)
    test.equal(ran.changed, false)
end)

test("what was stopped stays stopped", function()
    service("web")
    move("web", "2")
    containers.stop { name = "web", service = "web" }
    local ran = test.run("./refresh-images.lua", at_once)
    test.equal(ran.exit_code, 0)
    test.equal(ran.changed, false)
end)

test("images by digest and images of this node are left alone", function()
    deploy.rollout(deploy.service { name = "local", image = "localhost/web:v1" })
    local digest = images.digest({ image = "mcr.example/web:v1" }).reference
    deploy.rollout(deploy.service { name = "pinned", image = digest })
    move("web", "2")
    local ran = test.run("./refresh-images.lua", at_once)
    test.equal(ran.exit_code, 0)
    test.equal(ran.changed, false)
end)

test("what may not be asked is told as such", function()
    service("web")
    local ran = test.run("./refresh-images.lua", { allow = { "registry", "containers" } })
    test.equal(ran.exit_code, 4)
end)

test("a service that is not there is an error", function()
    test.equal(test.run("./refresh-images.lua", { params = { service = "none" } }).exit_code, 1)
end)
