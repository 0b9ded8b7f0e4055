--!strict
-- recover-engine.lua: brings every deployed service back when the container engine has lost what it knew.
--
-- It starts when the daemon tells that the engine is lost: it answers and knows next to nothing of what the registry says. One that
-- stops answering meanwhile is waited for. Unless `ask` is false, it then pauses until somebody says
-- `mcrun resume RUN`; what it would do is shown by `mcrun recover --plan`. By hand it is started as
--
--     mcrun start recover-engine --no-ask
--
-- It needs what the deploys were granted, of the operator's policy:
--
--     [policy]
--     scripts = ["containers", "images", "ports", "health", "routes", "dns", "certs", "registry", "files:write:/srv/**"]
local recover = require("@std/recover")

--- Whether a recorded container is not there.
local function lacks(there: { [string]: boolean }): boolean
    for _, service in registry.list {} do
        local spec: any = service.spec
        for _, container in if type(spec) == "table" then spec.containers or {} else {} do
            if not there[container.name] then
                return true
            end
        end
    end
    return false
end

return playbook {
    name = "recover-engine",
    description = "Brings every deployed service back after the container engine has lost it",
    on = { event = "engine.lost" } :: any,
    params = {
        ask = { type = "boolean", default = true, description = "Pause before anything is done" },
    } :: any,
    overlap = "skip",
    catch_up = "once",
    timeout = "24h",
    run = function(event: any)
        local there: { [string]: boolean } = {}
        retry({ times = 60, backoff = "1s..30s" }, function()
            for _, found in containers.list {} do
                there[found.name] = true
            end
        end)
        -- An engine that only started anew has lost nothing, and what was stopped is to stay so.
        if event.kind == "event" and not lacks(there) then
            log.info("the engine has everything again")
            return
        end
        if params.ask and event.kind == "event" then
            pause { reason = "the container engine has lost what it knew: `mcrun recover --plan` shows what would be done" }
        end
        recover.run {}
    end,
}
