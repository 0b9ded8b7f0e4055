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

local WEEK = 7

--- An image taken apart: its repository in full, as it is listed (`docker.io/library/web`), its tag and its digest.
local function parts(image: string): (string, string?, string?)
    local digest = string.match(image, "@(.+)$") or (string.match(image, "^sha256:%x+$"))
    local name = string.gsub(image, "@.*$", "")
    local path, tag = string.match(name, "^(.+):([^/:]+)$")
    local repository: string = path or name
    local first = string.match(repository, "^([^/]+)/")
    if not first then
        repository = `docker.io/library/{repository}`
    elseif first ~= "localhost" and not string.find(first, "[.:]") then
        repository = `docker.io/{repository}`
    end
    return repository, tag or (if digest then nil else "latest"), digest
end

--- Everything by which an image may be known that something needs. An engine takes a name without a host for one of this
-- node as well.
local function mark(needed: { [string]: boolean }, image: string)
    local repository, tag, digest = parts(image)
    if digest then
        needed[digest] = true
    end
    if tag then
        needed[`{repository}:{tag}`] = true
        local short = string.match(repository, "^docker%.io/library/(.+)$") or string.match(repository, "^docker%.io/(.+)$")
        if short then
            needed[`localhost/{short}:{tag}`] = true
        end
    end
end

--- What the newest releases of every service are made of, and the repositories of all that there are.
local function released(): ({ [string]: boolean }, { [string]: boolean })
    local needed, known = {}, {}
    for _, service in registry.list {} do
        for index, release: any in registry.releases { service = service.service, limit = 1000 } do
            for _, container in release.spec.containers or {} do
                if container.image then
                    known[(parts(container.image))] = true
                    if index <= params.keep then
                        mark(needed, container.image)
                    end
                end
            end
        end
    end
    return needed, known
end

--- Adds the images that containers have, whoever made them.
local function add_used(needed: { [string]: boolean })
    for _, container in containers.list { all = true } do
        if container.image_id then
            needed[container.image_id] = true
        end
        if container.image then
            mark(needed, container.image)
        end
    end
end

--- The number of a day since 1970.
local function day_of(year: number, month: number, day: number): number
    -- Years that begin in March end with the day that not all of them have.
    local years = if month <= 2 then year - 1 else year
    local months = (month + 9) % 12
    local leap_days = years // 4 - years // 100 + years // 400
    return 365 * years + leap_days + (306 * months + 5) // 10 + day - 719469
end

--- Whether it was made before the last week. Builds that are to come out the same every time name a day long ago, which is
-- no age.
local function is_old(image: any): boolean
    local year, month, day = string.match(image.created or "", "^(%d%d%d%d)%-(%d%d)%-(%d%d)T")
    if not year or (tonumber(year) :: number) < 2000 then
        return false
    end
    local made = day_of(tonumber(year) :: number, tonumber(month) :: number, tonumber(day) :: number)
    return now() // 86400 - made > WEEK
end

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
        local needed, known = released()
        add_used(needed)
        local removed, size = 0, 0
        for _, image in images.list {} do
            local repository = parts(image.name)
            local is_needed = needed[image.name] or needed[image.id] or (image.digest ~= nil and needed[image.digest])
            if known[repository] and not is_needed and is_old(image) then
                images.remove { image = image.name }
                removed += 1
                size += image.size
            end
        end
        log.info("pruned", { images = removed, bytes = size })
    end,
}
