--!strict
-- renew-certificates.lua: makes up for certificates that nobody renewed in time.
--
-- The daemon renews each when its own time comes, and tries again when that fails. What is still not renewed halfway between
-- then and its end is renewed here, at night; and whatever you name, at any time:
--
--     mcrun start renew-certificates --id hello.mcrun.test
--
-- It sees and renews what the operator's policy lets it:
--
--     [policy]
--     scripts = ["certs"]

--- Whether half of the time between a certificate's renewal and its end has passed.
local function is_late(certificate: any): boolean
    local halfway = certificate.renew_at + (certificate.not_after - certificate.renew_at) / 2
    return not certificate.revoked and now() * 1000 >= halfway
end

--- Those that are to be renewed.
local function wanted()
    local found = {}
    for _, certificate in certs.list {} do
        if if params.id == "" then is_late(certificate) else certificate.id == params.id then
            table.insert(found, certificate.id)
        end
    end
    if params.id ~= "" and #found == 0 then
        fail(`there is no certificate {params.id}`)
    end
    return found
end

return playbook {
    name = "renew-certificates",
    description = "Renews certificates that should have been renewed long ago",
    on = { cron = { at = "17 3 * * *", jitter = "30m" } } :: any,
    allow = { "certs" },
    params = {
        id = { type = "string", default = "", description = "This one alone, whether it is late or not" },
    } :: any,
    overlap = "skip",
    catch_up = "once",
    timeout = "1h",
    run = function(_event)
        local late = {}
        for _, id in wanted() do
            -- One authority that does not answer keeps nobody else's certificate from being renewed.
            local renewed, raised: any = pcall(function()
                certs.renew { id = id }
            end)
            if renewed then
                log.info("renewed", { id = id })
            else
                log.error("not renewed", { id = id, error = raised })
                table.insert(late, id)
            end
        end
        if #late > 0 then
            fail(`not renewed: {table.concat(late, ", ")}`)
        end
    end,
}
