--!strict
-- deploy.lua: rolls the platform out on the node that it runs on, in boot order: the containers with their names, the public
-- routes, or both. What is as it should be is left alone.
--
--     mcrun scripts/metacircular/deploy.lua --allow … [--set inventory=/etc/mcrun/inventory.toml]
local deploy = require("@std/deploy")
local edge = require("./edge")
local services = require("./services")

local platform = services.read(params.inventory)
local here: string = nodes.get({}).name
for _, stage in services.stages_on(platform, here) do
    step(stage.name, function()
        for _, service in stage.services do
            local release = deploy.rollout(service)
            log.info(service.name, { version = release.version, changed = release.changed })
        end
    end)
end
if here == platform.edge then
    edge.serve(platform)
end
