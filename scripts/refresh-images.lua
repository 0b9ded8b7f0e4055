--!strict
-- refresh-images.lua: rolls out anew what runs an image whose tag has moved in its registry.
--
-- Every night it asks the registry what the tag of each deployed service means now, and compares that with what its recorded
-- containers run. What has moved is told, as the event `images.moved`, too. Unless `ask` is false, it then pauses until somebody
-- says `mcrun resume RUN`, and rolls out those that were told, one after the other. A roll-out that fails goes back by itself,
-- the others go on, and the run fails at its end. By hand, for one service:
--
--     mcrun start refresh-images --service web --no-ask
--
-- Left alone are: images of `localhost/…`, which no registry has; those that are named by digest; services whose `pull` says
-- `"missing"`; and services that somebody stopped, which a roll-out would start. Where the registry does not answer, it is
-- unknown what a tag means, and nothing is done.
--
-- It needs what the deploys were granted, of the operator's policy:
--
--     [policy]
--     scripts = ["containers", "images", "ports", "health", "routes", "dns", "certs", "nodes:read", "registry", "secrets:read:registry*", "notify:write:images.*"]
local data = require("@std/data")
local deploy = require("@std/deploy")

type Moved = { [string]: string }

--- What is not granted is an error of its own, and not one of a service.
local function check_granted(raised: any)
    if type(raised) == "table" and raised.code == "MC-P001" then
        error(raised, 0)
    end
end

--- The image by the tag that the registry is to be asked for; nil where there is none to ask for.
local function tag_of(definition: any): string?
    local image: any = definition.image
    if type(image) ~= "string" or string.find(image, "@", 1, true) or string.sub(image, 1, 10) == "localhost/" then
        return nil
    end
    local wants: any = definition.pull
    return if type(wants) == "table" and wants.pull == "missing" then nil else image
end

--- What a tag means to its registry now; nil where nobody can say.
local function asked(service: string, image: string, definition: any): any
    local how: any = if type(definition.pull) == "table" then definition.pull else {}
    local ok, answer: any = pcall(function(): any
        return images.digest { image = image, auth = how.auth, ca = how.ca, attempts = how.attempts, node = definition.node }
    end)
    if not ok then
        check_granted(answer)
        log.warn("it is unknown what the tag means now", { service = service, image = image, error = answer })
        return nil
    elseif answer.cached or not answer.digest then
        log.info("it is unknown what the tag means now", { service = service, image = image, why = answer.cached })
        return nil
    end
    return answer
end

--- The digest that a recorded container runs although the tag means `answer` now; nil where it runs just that. An index and
--- what it leads to on this machine have digests of their own, so the content has the last word.
local function old_digest(spec: any, answer: any): string?
    local digest = string.match(spec.image or "", "@(.+)$")
    if not digest or digest == answer.digest then
        return nil
    end
    local live = containers.get { name = spec.name, node = spec.node }
    return if live and live.image_id == answer.id then nil else digest
end

--- Whether somebody stopped all of it.
local function is_stopped(spec: any): boolean
    for _, container in spec.containers do
        local live = containers.get { name = container.name, node = container.node }
        if live and live.state == "running" then
            return false
        end
    end
    return true
end

--- How the tag of a recorded service has moved; nil where it has not, as far as anybody knows.
local function moved(found: any): Moved?
    local spec: any = found.spec
    local definition: any = if type(spec) == "table" then spec.definition else nil
    if type(definition) ~= "table" or type(spec.containers) ~= "table" then
        return nil
    end
    local image = tag_of(definition)
    if not image or is_stopped(spec) then
        return nil
    end
    local answer = asked(found.service, image, definition)
    if not answer then
        return nil
    end
    for _, container in spec.containers do
        local from = old_digest(container, answer)
        if from then
            return { service = found.service, image = image, from = from, to = answer.digest }
        end
    end
    return nil
end

--- Every service that is concerned.
local function look(): { Moved }
    local list: { Moved } = {}
    for _, found in registry.list {} do
        if params.service == "" or params.service == found.service then
            local one = moved(found)
            if one then
                log.info("the tag has moved", one)
                table.insert(list, one)
            end
        end
    end
    return list
end

--- Rolls a service out as it is recorded, with its image brought anew.
local function roll_out(found: any)
    local definition: any = data.copy(found.spec.definition)
    definition.name = found.service
    definition.version = found.version
    -- Else what the node has under the tag would run. It is recorded so: a release that comes back brings its image, too.
    definition.pull = definition.pull or true
    local newest: any = registry.releases({ service = found.service, limit = 1 })[1]
    local noted: any = if newest then newest.details else nil
    -- Where `mcrun edit` finds the definition stays as it is.
    local file: any = if type(noted) == "table" then noted.file else nil
    deploy.rollout(definition, { strategy = params.strategy, soak = params.soak, file = file })
end

--- Carries one out that was told. Returns what went wrong.
local function refresh(one: Moved): string?
    -- It may have waited for long: what was agreed to has to be what is done.
    local found = registry.get { service = one.service }
    local now_moved = if found then moved(found) else nil
    if not now_moved or now_moved.image ~= one.image or now_moved.to ~= one.to then
        log.warn("left alone: it is no longer what was told", one)
        return nil
    end
    local rolled, raised: any = pcall(roll_out, found)
    if not rolled then
        check_granted(raised)
        log.error("not rolled out", { service = one.service, error = raised })
        return one.service
    end
    local after = registry.get { service = one.service }
    if after and moved(after) then
        log.error("rolled out, and what the tag meant before runs on", { service = one.service })
        return one.service
    end
    log.info("rolled out", { service = one.service, digest = one.to })
    return nil
end

--- In a few words, for whoever is to agree.
local function summary(list: { Moved }): string
    local names: { string } = {}
    for index, one in list do
        if index > 20 then
            table.insert(names, `and {#list - 20} more`)
            break
        end
        table.insert(names, `{one.service} ({one.image}: {string.sub(one.from, 1, 19)} -> {string.sub(one.to, 1, 19)})`)
    end
    return table.concat(names, ", ")
end

return playbook {
    name = "refresh-images",
    description = "Rolls services out anew whose image tags have moved",
    on = { cron = { at = "41 2 * * *", jitter = "20m" } } :: any,
    params = {
        service = { type = "string", default = "", description = "This service alone" },
        ask = { type = "boolean", default = true, description = "Pause before anything is rolled out" },
        strategy = { type = "string", default = "rolling", choices = { "rolling", "recreate" }, description = "How it is rolled out" },
        soak = { type = "duration", default = "0s", description = "How long new containers have to stay healthy" },
    } :: any,
    -- One that waits for somebody holds the next off; what it finds then is looked at once more before it is done.
    overlap = "skip",
    catch_up = "once",
    timeout = "3d",
    run = function(_event)
        if params.service ~= "" and registry.get { service = params.service } == nil then
            fail(`there is no service \`{params.service}\``)
        end
        local list = look()
        if #list == 0 then
            return
        end
        notify.event { name = "images.moved", data = { services = list } }
        if params.ask then
            pause { reason = `tags have moved, and these would be rolled out: {summary(list)}` }
        end
        local failed: { string } = {}
        for _, one in list do
            local what = refresh(one)
            if what then
                table.insert(failed, what)
            end
        end
        if #failed > 0 then
            fail(`not refreshed: {table.concat(failed, ", ")}`)
        end
    end,
}
