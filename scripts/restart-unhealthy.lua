--!strict
-- restart-unhealthy.lua: restarts containers that run and do not answer their health check.
--
-- It starts when the daemon tells that a service is unhealthy, and looks at that one alone; started by hand it looks at every
-- service, or at one:
--
--     mcrun start restart-unhealthy --param service=web
--
-- What was stopped stays stopped, and what ended by itself is the matter of its restart policy. A service that keeps falling
-- ill is restarted three times within half an hour, and then left to you.

--- Whether it answers, within the time that a probe may take.
local function is_well(container): boolean
    local answers, raised: any = pcall(function()
        containers.wait_healthy { name = container.name, within = params.patience }
    end)
    if not answers and raised.code == "MC-P001" then
        error(raised, 0)
    end
    return answers
end

--- Those that are to be looked at.
local function suspects(event)
    local data = if event.kind == "event" then event.data else {}
    local service = if params.service ~= "" then params.service else data.service
    local found = {}
    for _, container in containers.list { service = service } do
        local is_meant = data.container == nil or data.container == container.name
        if is_meant and container.state == "running" and container.health ~= nil then
            table.insert(found, container)
        end
    end
    return found
end

return playbook {
    name = "restart-unhealthy",
    description = "Restarts containers that do not answer their health check",
    on = { event = { name = "service.unhealthy", at_most = "3/30m" } },
    allow = { "containers" },
    params = {
        service = { type = "string", default = "", description = "This service alone" },
        patience = { type = "duration", default = "5s", description = "How long one may take to answer" },
    },
    overlap = "queue",
    catch_up = "skip",
    timeout = "15m",
    run = function(event)
        local ill = {}
        for _, container in suspects(event) do
            if not is_well(container) then
                log.warn("restarting", { container = container.name, service = container.service })
                containers.restart { name = container.name, service = container.service }
                local is_back = pcall(function()
                    containers.wait_healthy { name = container.name }
                end)
                if not is_back then
                    table.insert(ill, container.name)
                end
            end
        end
        if #ill > 0 then
            fail(`still unhealthy after a restart: {table.concat(ill, ", ")}`)
        end
    end,
}
