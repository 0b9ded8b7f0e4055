--!strict
-- backup-registry.lua: takes a backup of mcrun's own state every night, and removes old ones.
--
-- A backup holds every key of this node. Where somebody else could read it, seal it: name a secret whose `to` lists "backup".
-- Copy backups to another machine, and try now and then that one comes back: `mcrun restore FILE --check`.
--
--     mcrun start backup-registry --folder /mnt/backup --seal backup/passphrase
--
-- It writes and removes what the operator's policy lets it:
--
--     [policy]
--     scripts = ["registry:backup:/var/backups/mcrun/**", "files:write:/var/backups/mcrun/**", "nodes:read:self", "secrets:read:backup/*"]
local snapshot = require("@std/snapshot")

return playbook {
    name = "backup-registry",
    description = "Takes a backup of mcrun's own state, and removes old ones",
    on = { cron = { at = "13 2 * * *", jitter = "20m" } } :: any,
    allow = { "registry:backup", "files:write", "nodes:read", "secrets:read" },
    params = {
        folder = { type = "string", default = "/var/backups/mcrun/state", description = "Where the backups lie" },
        keep = { type = "integer", default = 14, description = "How many of this node are kept, the new one included" },
        seal = { type = "string", default = "", description = "The secret that they are sealed with; they are not unless given" },
    } :: any,
    overlap = "skip",
    catch_up = "once",
    timeout = "2h",
    run = function(_event)
        if params.keep < 1 then
            fail("`keep` is less than 1: the new backup is one of them")
        end
        -- Names of nodes may hold what names of files do not take well.
        local node = string.gsub(nodes.get({}).name, "[^%w%-]", "_")
        local older: { any } = {}
        for _, backup in registry.backups { path = params.folder } do
            if backup.node == node then
                table.insert(older, backup.path)
            end
        end
        local sealed = params.seal ~= ""
        local path = `{params.folder}/mcrun-{node}-{snapshot.stamp(now())}.tar.zst{if sealed then ".age" else ""}`
        local made = registry.backup {
            to = path,
            parents = true,
            passphrase = if sealed then secrets.get(params.seal) else nil,
        }
        -- Only now: where none could be taken, all that there are stay.
        local removed = 0
        for number, old in older do
            if number >= params.keep and old ~= path then
                files.remove { path = old }
                removed += 1
            end
        end
        log.info("backed up", { path = path, size = if made.after then made.after.size else 0, removed = removed })
    end,
}
