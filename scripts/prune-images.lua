--!strict
-- prune-images.lua: takes images of deployed services away that neither a container nor a release that can be brought back
-- needs. Images of repositories that no service was deployed from are nobody's business here.
--
--     mcrun plan scripts/prune-images.lua          shows which
--     mcrun start prune-images --param keep=2

--- The last part of an image's name, with its tag and without: `web:v1` and `web` of `mcr.example:8443/team/web:v1@sha256:…`.
-- Engines write the front of a name in several ways; what is only alike is kept.
local function parts(image: string): (string, string)
    local tagged = string.gsub(image, "@.*$", "")
    local last = string.match(tagged, "[^/]+$") or tagged
    return last, (string.gsub(last, ":.*$", ""))
end

--- What the newest releases of every service are made of, and the repositories of all that there are.
local function released(): ({ [string]: boolean }, { [string]: boolean })
    local needed, known = {}, {}
    for _, service in registry.list {} do
        for index, release in registry.releases { service = service.service, limit = 1000 } do
            for _, container in release.spec.containers or {} do
                if container.image then
                    local tagged, repository = parts(container.image)
                    known[repository] = true
                    needed[tagged] = needed[tagged] or index <= params.keep
                end
            end
        end
    end
    return needed, known
end

--- The images that containers have, whoever made them.
local function in_use(): { [string]: boolean }
    local used = {}
    for _, container in containers.list { all = true } do
        if container.image_id then
            used[container.image_id] = true
        end
        if container.image then
            used[(parts(container.image))] = true
        end
    end
    return used
end

return playbook {
    name = "prune-images",
    description = "Removes images of old releases that nothing uses",
    on = { cron = { at = "41 4 * * 0", jitter = "1h" } },
    allow = { "images", "containers:read", "registry:read" },
    params = {
        keep = { type = "integer", default = 5, description = "How many of the newest releases of a service can be brought back" },
    },
    overlap = "skip",
    catch_up = "once",
    timeout = "1h",
    run = function(_event)
        local needed, known = released()
        local used = in_use()
        local removed, size = 0, 0
        for _, image in images.list {} do
            local tagged, repository = parts(image.name)
            if known[repository] and not (needed[tagged] or used[tagged] or used[image.id]) then
                images.remove { image = image.name }
                removed += 1
                size += image.size
            end
        end
        log.info("pruned", { images = removed, bytes = size })
    end,
}
