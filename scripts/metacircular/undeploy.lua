--!strict
-- undeploy.lua: takes the platform away from the node that it runs on, in reverse order: names, routes and certificates,
-- containers, ports, what the registry has. Volumes stay.
--
--     mcrun scripts/metacircular/undeploy.lua --allow …
local deployed = require("@std/services")
local edge = require("./edge")
local services = require("./services")

local platform = services.read(params.inventory)
local here: string = nodes.get({}).name

local stages = services.stages_on(platform, here)

if here == platform.edge then
    edge.withdraw(platform)
end
for index = #stages, 1, -1 do
    local stage = stages[index]
    step(stage.name, function()
        for last = #stage.services, 1, -1 do
            local name = stage.services[last].name
            if registry.get { service = name } then
                deployed.undeploy(name)
            end
        end
    end)
end
