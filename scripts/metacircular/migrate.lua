--!strict
-- migrate.lua: takes the data of a service to where the inventory has it now, such as another disk of this machine: change
-- `srv` of the node in the inventory, then run this for one service after the other. Everything that writes to the folder
-- rests meanwhile. The data is packed, checked, put into its new folder, and the services are rolled out there, with their
-- routes and names. The old folder stays as it was, and so does the snapshot: remove them once you are content.
--
--     mcrun scripts/metacircular/migrate.lua --set service=mcq --allow … [--set inventory=/etc/mcrun/inventory.toml]
--
-- From one machine to another it does not go: each mcrun acts on its own node. README.md beside this says what is ready for it.
local check = require("@std/check")
local deploy = require("@std/deploy")
local deployed = require("@std/services")
local snapshot = require("@std/snapshot")
local services = require("./services")

local platform = services.read(params.inventory)
local here: string = nodes.get({}).name

--- The folder of this machine that is mounted first.
local function folder_of(volumes: any): string?
    local first: any = if type(volumes) == "table" then volumes[1] else nil
    return if type(first) == "string" then string.match(first, "^(/[^:]*):") else nil
end

local function recorded_folder(service: string): string?
    local found: any = registry.get { service = service }
    return if found then folder_of(found.spec.containers[1].volumes) else nil
end

local function all_services(): { any }
    local all: { any } = {}
    for _, stage in platform.stages do
        for _, service in stage.services do
            table.insert(all, service)
        end
    end
    return all
end

local function wanted(): any
    local names: { string } = {}
    for _, service in all_services() do
        if service.name == params.service then
            return service
        end
        table.insert(names, service.name)
    end
    check.raise("MC-R001", `the platform has no service \`{params.service or ""}\``, {
        hint = `say which: --set service=NAME, one of {table.concat(names, ", ")}`,
    })
    return nil
end

local service = wanted()
if service.node ~= here then
    check.raise("MC-N002", `the inventory has {service.name} on the node {service.node}, and this one is {here}`, {
        hint = "data is taken to another machine by hand: scripts/metacircular/README.md says how",
    })
end
local from, to = recorded_folder(service.name), folder_of(service.volumes)
if not from then
    check.raise("MC-R001", `{service.name} is not deployed here: there is nothing to take along`, { hint = "deploy.lua deploys it" })
end

--- All that have the folder go together: none writes there while another has left.
local function sharing(): { any }
    local found: { any } = {}
    for _, other in all_services() do
        if recorded_folder(other.name) == from then
            if folder_of(other.volumes) ~= to or other.node ~= here then
                check.raise("MC-A001", `{other.name} has the folder {from} too, and the inventory has it elsewhere than {service.name}`)
            end
            table.insert(found, other)
        end
    end
    return found
end

local function start_all(all: { any })
    for _, one in all do
        deployed.start(one.name)
    end
end

local function move()
    local all = sharing()
    local there = files.stat { path = to :: string }
    if there.kind ~= nil and #all > 0 then
        check.raise("MC-F001", `{to} is there already, and what lies in it is not overwritten`, {
            hint = "rename it, or give the node another `srv` in the inventory",
        })
    end
    for index = #all, 1, -1 do
        deployed.stop(all[index].name)
    end
    local moved: { string } = {}
    local ok, fault = pcall(function()
        -- The folder above has to be there: it may be a disk that is not mounted now.
        local taken = snapshot.take { service = service.name, volume = from, to = params.to }
        snapshot.restore { service = service.name, from = taken[1], volume = to }
        for _, one in all do
            deploy.rollout(one)
            table.insert(moved, one.name)
        end
    end)
    if not ok then
        log.error(`{service.name}: it stays where it was: {check.message(fault)}`)
        -- What is written from now on has to be in one place.
        for index = #moved, 1, -1 do
            deploy.rollback(moved[index])
        end
        start_all(all)
        error(fault, 0)
    end
    log.info(`{service.name}: its data is in {to}`, { services = #all, old = from })
end

if from == to then
    log.info(`{service.name}: its data is where the inventory has it, in {to}`)
else
    step("migrate", move)
end
