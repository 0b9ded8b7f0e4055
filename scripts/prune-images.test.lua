--!strict
local deploy = require("@std/deploy")
local test = require("@std/test")

local function release(name: string, image: string)
    deploy.rollout(deploy.service { name = name, image = image })
end

--- Has an image on the machine that no service was deployed from.
local function bring(image: string)
    images.ensure { image = image }
end

local function removed(ran: any): { any }
    local names: { any } = {}
    for _, effect in ran.effects do
        if effect.effect == "images.remove" then
            table.insert(names, effect.subject)
        end
    end
    return names
end

local function pruned(keep: number): { any }
    local ran = test.plan_equals_apply("./prune-images.lua", { params = { keep = keep } })
    test.equal(ran.exit_code, 0)
    return removed(ran)
end

test("images of releases that are not kept any more go, and the others stay", function()
    for _, version in { "v1", "v2", "v3" } do
        release("web", `mcr.example:8443/team-a/web:{version}`)
    end
    sleep("30d")
    test.equal(pruned(2), { "mcr.example:8443/team-a/web:v1" })
    test.equal(#images.list { name = "mcr.example:8443/team-a/web" }, 2)
    test.equal(pruned(2), {})
end)

test("a repository of the same last name is nobody's business", function()
    release("web", "mcr.example/team-a/web:v1")
    bring("mcr.example/team-b/web:v9")
    bring("mcr.example/team-a/tools/web:v1")
    bring("other.example/team-a/web:v0")
    bring("other.example/tools:v1")
    images.tag { image = "other.example/tools:v1", tag = "localhost/lab/web:dev" }
    sleep("30d")
    test.equal(pruned(1), {})
end)

test("names of docker.io are the same however they are written", function()
    release("web", "web:v1")
    release("web", "docker.io/library/web:v2")
    bring("docker.io/library/web:v0")
    sleep("30d")
    test.equal(pruned(2), { "docker.io/library/web:v0" })
end)

test("what an engine may take for a short name stays", function()
    release("web", "localhost/web:v1")
    release("web", "web:v2")
    bring("other.example/tools:v1")
    for _, version in { "v2", "v3" } do
        images.tag { image = "other.example/tools:v1", tag = `localhost/web:{version}` }
    end
    sleep("30d")
    test.equal(pruned(2), { "localhost/web:v3" })
end)

test("what a run may still wait to deploy stays for a week", function()
    release("web", "mcr.example/web:v1")
    bring("mcr.example/web:v2")
    sleep("6d")
    test.equal(pruned(1), {})
    sleep("2d")
    test.equal(pruned(1), { "mcr.example/web:v2" })
end)

test("what a container has stays, whoever made it", function()
    release("web", "mcr.example/web:v1")
    containers.ensure { name = "by-hand", image = "mcr.example/web:v0" }
    sleep("30d")
    test.equal(pruned(1), {})
    containers.remove { name = "by-hand", foreign = true }
    test.equal(pruned(1), { "mcr.example/web:v0" })
end)
