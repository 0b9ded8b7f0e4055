--!strict
-- snapshots.lua: takes a snapshot of every folder of every deployed service each night, and removes old ones.
--
-- Each service is stopped while its folders are packed, and started again. Where that takes too long, `--mode pause` freezes it
-- instead, and `--mode live` does not touch it: what it writes meanwhile may then be half in the snapshot.
--
--     mcrun start snapshots --service mcq --mode pause
--
-- With `--seal age1…` (`age-keygen` makes a pair of keys) only whoever has the secret key can open them: this machine need not.
--
-- It takes snapshots of what the operator's policy lets it see and stop:
--
--     [policy]
--     scripts = ["containers", "registry:read", "routes", "dns", "certs", "health", "files:read:/srv/**", "files:write:/var/backups/mcrun/**"]
local snapshot = require("@std/snapshot")

--- The deployed services that have folders of this machine.
local function chosen(): { string }
    local names: { string } = {}
    for _, service in registry.list {} do
        local name = service.service
        if (params.service == "" or params.service == name) and #snapshot.volumes(name) > 0 then
            table.insert(names, name)
        end
    end
    return names
end

return playbook {
    name = "snapshots",
    description = "Takes snapshots of the folders of deployed services, and removes old ones",
    on = { cron = { at = "29 3 * * *", jitter = "20m" } } :: any,
    allow = { "containers", "registry:read", "routes", "dns", "certs", "health", "files" },
    params = {
        service = { type = "string", default = "", description = "This service alone" },
        mode = { type = "string", default = "stop", choices = { "stop", "pause", "live" }, description = "What becomes of a service meanwhile" },
        keep = { type = "integer", default = 7, description = "How many snapshots of each folder are kept" },
        folder = { type = "string", default = snapshot.FOLDER, description = "Where the snapshots lie" },
        seal = { type = "string", default = "", description = "The public key of age, age1…, that they are sealed for; they are not unless given" },
    } :: any,
    overlap = "skip",
    catch_up = "once",
    timeout = "6h",
    run = function(_event)
        local names = chosen()
        if params.service ~= "" and #names == 0 then
            fail(`\`{params.service}\` is not deployed, or has no folder of this machine`)
        end
        local given: any = params.seal
        local seal: string? = if given == "" then nil else given
        local failed: { string } = {}
        for _, name in names do
            -- A service whose snapshot fails keeps no other from its own.
            local taken, raised: any = pcall(function(): any
                return snapshot.take {
                    service = name,
                    mode = params.mode,
                    keep = params.keep,
                    to = params.folder,
                    seal = seal,
                }
            end)
            if taken then
                log.info("snapshot taken", { service = name, files = raised })
            else
                log.error("no snapshot taken", { service = name, error = raised })
                table.insert(failed, name)
            end
        end
        if #failed > 0 then
            fail(`no snapshot of: {table.concat(failed, ", ")}`)
        end
    end,
}
