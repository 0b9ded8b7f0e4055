--!strict
-- boot.lua: brings the platform up after a reboot, in the order of its record: what has to be there before, four stages, and
-- what is looked at in the end. Beside mcrun.toml it is what `mcrun boot` runs.
--
--     mcrun boot [--plan] [--stage STAGE]
--     mcrun scripts/metacircular/boot.lua --allow … [--set inventory=/etc/mcrun/inventory.toml]
local boot = require("@std/boot")
local edge = require("./edge")
local services = require("./services")

local platform = services.read(params.inventory)
local here: string = nodes.get({}).name
local mine = services.stages_on(platform, here)

--- What no stage can bring about: the registry server is one of the containers, so images have to be on the node.
local function preflight()
    local cached: { [string]: boolean } = {}
    for _, image in images.list {} do
        for _, tag in image.tags do
            cached[tag] = true
        end
    end
    local missing: { string } = {}
    for _, stage in mine do
        for _, service in stage.services do
            if service.image and not cached[service.image] then
                table.insert(missing, service.image)
            end
        end
    end
    if #missing > 0 then
        fail(`not on this node: {table.concat(missing, ", ")}; \`images.ensure\` loads one from an archive`)
    end
end

--- A machine on which nothing was deployed yet has no names to look up.
local function names(): any
    if registry.get { service = platform.mcq.name } == nil then
        return true
    end
    return dns.resolve { name = `{platform.mcq.name}.{platform.domain}` }
end

local function final_checks()
    local broken = edge.broken(platform)
    if #broken > 0 then
        fail(table.concat(broken, "; "))
    end
end

local stages: { boot.Stage } = {}
local function add(stage: boot.Stage)
    table.insert(stages, stage)
end

if #mine > 0 then
    add { stage = "preflight", ready = preflight }
    for _, stage in mine do
        add {
            stage = stage.name,
            services = stage.services :: any,
            ready = if stage.name == "foundation" then names else nil,
            on_failure = if stage.name == "services" then "continue" else "stop",
        }
    end
end
if here == platform.edge then
    add { stage = "final checks", ready = final_checks, on_failure = "continue" }
end
boot.sequence(stages)
