--!strict
-- prune-images.lua: takes images of deployed services away that neither a container nor a release that can be brought back
-- needs. Only repositories that a service was deployed from are looked at, by their full names: `mcr.example/team-a/web` says
-- nothing about `mcr.example/team-b/web`.
--
-- What was made within a week stays, since a run may still wait to deploy it; so does what does not say when it was made.
--
--     mcrun plan scripts/prune-images.lua --allow images --allow containers:read --allow registry:read
--     mcrun start prune-images --keep 2
--
-- Its images are those that the operator's policy lets it see:
--
--     [policy]
--     scripts = ["images", "containers:read", "registry:read"]
local prune = require("@std/prune")

return playbook {
    name = "prune-images",
    description = "Removes images of old releases that nothing uses",
    on = { cron = { at = "41 4 * * 0", jitter = "1h" } } :: any,
    allow = { "images", "containers:read", "registry:read" },
    params = {
        keep = { type = "integer", default = 5, description = "How many of the newest releases of a service can be brought back" },
    } :: any,
    overlap = "skip",
    catch_up = "once",
    timeout = "1h",
    run = function(_event)
        local removed, size = prune.images(params.keep)
        log.info("pruned", { images = removed, bytes = size })
    end,
}
