--!strict
-- disk-guard.lua: makes room when a disk fills: old images go first, then old snapshots. Data of services is never touched.
--
-- It looks every quarter of an hour, and when the daemon tells that a disk is filling. Where a disk is
-- fuller than `beyond` it removes images that no release and no container needs, and where snapshots lie on such a disk, of each
-- folder all but the newest. Whatever came of it is told as the event `disk.freed` or, where it is still too full, `disk.full`.
--
--     mcrun start disk-guard --beyond 80 --keep 3
--
-- It looks at and removes what the operator's policy lets it:
--
--     [policy]
--     scripts = ["images", "containers:read", "registry:read", "notify:write:disk.*", "files:read:/srv", "files:read:/var/**", "files:write:/var/backups/mcrun/**"]
local prune = require("@std/prune")
local snapshot = require("@std/snapshot")

local function is_full(path: string): boolean
    local room = files.space { path = path }
    return math.max(room.used, room.inodes_used) * 100 > params.beyond
end

--- The disks that are fuller than they may be, by a path on each.
local function full(): { string }
    local found: { string } = {}
    for _, path in string.split(params.paths, ",") do
        if is_full(path) then
            table.insert(found, path)
        end
    end
    return found
end

--- Removes all but the newest snapshots of each folder of each service; how many.
local function remove_snapshots(): number
    local removed = 0
    for _, service in registry.list {} do
        local kept: { [string]: number } = {}
        for _, old in snapshot.list { service = service.service, to = params.folder } do
            kept[old.source] = (kept[old.source] or 0) + 1
            if kept[old.source] > params.keep then
                files.remove { path = old.path }
                removed += 1
            end
        end
    end
    return removed
end

return playbook {
    name = "disk-guard",
    description = "Makes room on a disk that fills: old images, then old snapshots, never data",
    on = { cron = "*/15 * * * *", event = { name = "disk.filling", at_most = "4/1h" } } :: any,
    allow = { "images", "containers:read", "registry:read", "notify:write:disk.*", "files" },
    params = {
        beyond = { type = "number", default = 85, description = "The share in use, in per cent, beyond which a disk is too full" },
        paths = { type = "string", default = "/srv,/var/lib,/var/backups", description = "A path on each disk, with commas between them" },
        keep = { type = "integer", default = 3, description = "How many snapshots of each folder stay in any case" },
        releases = { type = "integer", default = 2, description = "How many of the newest releases of a service can still be brought back" },
        folder = { type = "string", default = snapshot.FOLDER, description = "Where the snapshots lie" },
    } :: any,
    overlap = "skip",
    catch_up = "skip",
    timeout = "1h",
    run = function(_event)
        if params.keep < 1 or params.releases < 1 then
            fail("`keep` and `releases` are 1 at least: the newest of each stays")
        end
        local before = full()
        if #before == 0 then
            return
        end
        log.warn("a disk is too full", { paths = before })
        local images, bytes = prune.images(params.releases)
        local snapshots = if #full() > 0 and is_full(params.folder) then remove_snapshots() else 0
        local still = full()
        local told = { paths = before, still = still, images = images, bytes = bytes, snapshots = snapshots }
        notify.event { name = if #still > 0 then "disk.full" else "disk.freed", data = told }
        if #still > 0 then
            fail(`still too full: {table.concat(still, ", ")}`)
        end
    end,
}
