--!strict
-- restart-unhealthy.lua: restarts containers that run and do not answer their health check.
--
-- It starts when the daemon tells that a service is unhealthy. That is told once, and beyond thirty within half an hour nobody
-- hears it: so every start looks at all containers that have a health check, the one that was told of first. By hand it looks
-- at all of them, too, or at one service:
--
--     mcrun start restart-unhealthy --service web
--
-- What was stopped stays stopped, and what ended by itself is the matter of its restart policy. It restarts what the
-- operator's policy lets it:
--
--     [policy]
--     scripts = ["containers"]

--- Calls `body`; tells whether it passed. What is not granted is an error of its own.
local function passes(body: () -> ()): boolean
    local passed, raised: any = pcall(body)
    if not passed and type(raised) == "table" and raised.code == "MC-P001" then
        error(raised, 0)
    end
    return passed
end

--- Whether it answers: within the time that a probe may take, or within all that it has after a start.
local function is_well(container: any, patience: any): boolean
    return passes(function()
        containers.wait_healthy { name = container.name, within = patience }
    end)
end

--- Those that are to be looked at, the one that was told of first.
local function suspects(told: string?): { any }
    local found: { any } = {}
    for _, container in containers.list { service = if params.service ~= "" then params.service else nil } do
        if container.state == "running" and container.health ~= nil then
            table.insert(found, if container.name == told then 1 else #found + 1, container)
        end
    end
    return found
end

return playbook {
    name = "restart-unhealthy",
    description = "Restarts containers that do not answer their health check",
    on = { event = { name = "service.unhealthy", at_most = "30/30m" } } :: any,
    allow = { "containers" },
    params = {
        service = { type = "string", default = "", description = "This service alone" },
        patience = { type = "duration", default = "5s", description = "How long one may take to answer" },
    } :: any,
    overlap = "queue",
    catch_up = "skip",
    timeout = "1h",
    run = function(event: any)
        local data: any = if event.kind == "event" then event.data or {} else {}
        local ill = {}
        for _, container in suspects(data.container) do
            -- Whom nobody complained of may only just have been started, by a deploy that waits for it.
            local is_meant = event.kind ~= "event" or data.container == container.name
            if not is_well(container, if is_meant then params.patience else nil) then
                log.warn("restarting", { container = container.name, service = container.service })
                local is_back = passes(function()
                    containers.restart { name = container.name, service = container.service }
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
