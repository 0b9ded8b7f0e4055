--!strict
-- recover.lua: brings every container of the platform back as it was recorded, after the engine has lost it, in the order of
-- the boot. It needs neither the registry server nor names nor the proxy. Beside mcrun.toml it is what `mcrun recover` runs.
--
--     mcrun recover [--plan] [--only SERVICE]
--     mcrun scripts/metacircular/recover.lua --allow … [--set inventory=/etc/mcrun/inventory.toml]
local boot = require("@std/boot")
local edge = require("./edge")
local recover = require("@std/recover")
local services = require("./services")

local platform = services.read(params.inventory)
local here: string = nodes.get({}).name

local stages: { boot.Stage } = {}
for _, stage in services.stages_on(platform, here) do
    table.insert(stages, { stage = stage.name, services = stage.services } :: any)
end
if #stages > 0 then
    recover.run { stages = stages }
end
if here == platform.edge then
    edge.serve(platform)
end
