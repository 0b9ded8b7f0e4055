--!strict
-- reboot-node.lua: reboots this machine in an orderly way, and waits until everything is back. By hand only:
--
--     mcrun start reboot-node
--
-- It refuses where something is not healthy, or a roll-out is under way as far as that can be seen; takes a backup of mcrun's
-- own state; and pauses until somebody says `mcrun resume RUN`, unless `--no-ask` is given. Then it runs `systemctl reboot`, once
-- and no more: the daemon goes on with this run after the boot. It waits until every service that ran before is healthy again,
-- says how long that took, and tells it as the event `node.rebooted`.
--
-- Services are not stopped before: what a run stops stays stopped after the boot. Containers with a restart policy and the
-- boot sequence (`mcrun boot`) bring them back. What did not run before is not waited for. Nothing of a service is held
-- meanwhile, so that the boot sequence is not kept from it.
--
-- It takes, of the operator's policy:
--
--     [policy]
--     scripts = ["registry:read", "containers:read", "routes:read", "exec:read:/usr/bin/cat", "exec:write:/usr/bin/systemctl", "registry:backup:/var/backups/mcrun/**", "files:write:/var/backups/mcrun/**", "nodes:read:self", "secrets:read:backup/*", "notify:write:node.*"]
local snapshot = require("@std/snapshot")

--- A text that differs for every boot of a machine.
local BOOT_ID = "/proc/sys/kernel/random/boot_id"
--- More attempts than any `within` takes at the intervals below: no wait is without an end.
local MOST_ATTEMPTS = 2000
--- How many names an error or a question has at most.
local MOST_NAMED = 20

--- One container that is to be healthy.
type Member = { service: string, name: string, node: string?, check: any }

--- What is found before: the containers that are to be back, those that do not run, and what speaks against a reboot.
type Survey = { members: { Member }, resting: { string }, against: { string } }

local function passes(body: () -> ()): (boolean, any)
    local passed, raised: any = pcall(body)
    if not passed and type(raised) == "table" and raised.code == "MC-P001" then
        error(raised, 0)
    end
    return passed, raised
end

local function message_of(raised: any): string
    return if type(raised) == "table" and raised.message then tostring(raised.message) else tostring(raised)
end

local function named(list: { string }): string
    local more = if #list > MOST_NAMED then ` and {#list - MOST_NAMED} more` else ""
    return table.concat(list, ", ", 1, math.min(#list, MOST_NAMED)) .. more
end

--- Fails unless a container is up, and healthy where it can say so, within `patience`.
local function check_well(member: Member, patience: any)
    if member.check then
        containers.wait_healthy { name = member.name, node = member.node, within = patience }
        return
    end
    local live = containers.get { name = member.name, node = member.node }
    if not live or live.state ~= "running" then
        fail(`{member.name} is {if live then live.state else "not there"}`)
    end
end

--- The signs of a roll-out that scripts can see: containers that a switch has kept, containers of the service that its record
--- does not have, requests that wait. A run that has done nothing yet shows none.
local function look_for_runs(survey: Survey, service: string, spec: any)
    local recorded: { [string]: boolean } = {}
    for _, container in spec.containers do
        recorded[container.name] = true
    end
    if spec.standby and #spec.standby > 0 then
        table.insert(survey.against, `{service}: a switch has not ended`)
    end
    for _, live in containers.list { service = service } do
        if live.state == "running" and not recorded[live.name] then
            table.insert(survey.against, `{service}: {live.name} runs beside what is recorded`)
        end
    end
    for _, route in routes.list { service = service } do
        if route.paused then
            table.insert(survey.against, `{service}: requests to {route.hostname} wait`)
        end
    end
end

local function look_at(survey: Survey, service: string, spec: any)
    local checks: { [string]: any } = {}
    for _, check in spec.checks or {} do
        checks[check.name] = check
    end
    for _, container in spec.containers do
        local member: Member = { service = service, name = container.name, node = container.node, check = checks[container.name] }
        local live = containers.get { name = container.name, node = container.node }
        if not live then
            table.insert(survey.against, `{service}: {container.name} is not there`)
        elseif live.state ~= "running" then
            table.insert(survey.resting, container.name)
        else
            table.insert(survey.members, member)
            local well, raised = passes(function()
                check_well(member, params.patience)
            end)
            if not well then
                table.insert(survey.against, `{service}: {message_of(raised)}`)
            end
        end
    end
    look_for_runs(survey, service, spec)
end

--- Looks at everything that is recorded; fails where something speaks against a reboot.
local function look(): Survey
    local survey: Survey = { members = {}, resting = {}, against = {} }
    for _, found in registry.list {} do
        local spec: any = found.spec
        if type(spec) == "table" and type(spec.containers) == "table" then
            look_at(survey, found.service, spec)
        end
    end
    if #survey.against > 0 then
        fail(`not rebooted: {named(survey.against)}`)
    end
    return survey
end

--- Which boot this is; nil where that cannot be read. No grant lets `files.read` into `/proc`: a program that only looks does it.
local function boot_id(): string?
    local found: any = nil
    local read = passes(function()
        found = exec.query { argv = { "cat", BOOT_ID }, output_limit = "1KiB" }
    end)
    local id = if read and found then string.gsub(found.stdout, "%s", "") else ""
    return if id ~= "" then id else nil
end

--- A backup of what mcrun itself has, called as those of `backup-registry` are.
local function back_up(node: string)
    if params.backup == "" then
        return
    end
    local sealed = params.seal ~= ""
    local called = string.gsub(node, "[^%w%-]", "_")
    registry.backup {
        to = `{params.backup}/mcrun-{called}-{snapshot.stamp(now())}.tar.zst{if sealed then ".age" else ""}`,
        parents = true,
        passphrase = if sealed then secrets.get(params.seal) else nil,
    }
end

--- Asks for the reboot, once. The shutdown may end mcrun before it knows what came of that: the run then finds the call begun
--- and not ended. `"redo"` would reboot the machine once more, after it has come back; `"ask"` would have everybody wait for
--- somebody; `"fail"` makes it an error with a code of its own, and the boot id tells whether the machine was rebooted.
local function reboot()
    local ended, outcome: any = pcall(function(): any
        return exec.run {
            argv = { "systemctl", "reboot" },
            timeout = "1m",
            check = false,
            on_doubt = "fail",
            assume = { code = 0, stdout = "", stderr = "", truncated = false },
        }
    end)
    if not ended then
        if type(outcome) ~= "table" or outcome.code ~= "MC-J002" then
            error(outcome, 0)
        end
        log.info("cut while the machine went down: the boot id tells what became of it")
    elseif outcome.code ~= 0 and not outcome.signal then
        -- One that a signal ended may have been ended by the shutdown.
        fail(`\`systemctl reboot\` ended with exit code {outcome.code}: {string.sub(outcome.stderr, 1, 400)}`)
    end
end

--- Calls `attempt` until it returns nil, at most for `within`; it returns what is missing otherwise. A plan assumes that all is
--- well at once. Waiting takes no worker and survives the boot.
local function wait_until(name: string, within: any, attempt: () -> string?)
    local gate: any = health.gate { name = name, within = within }
    if gate.passed then
        return
    end
    local missing: string? = nil
    for attempts = 1, MOST_ATTEMPTS do
        missing = attempt()
        if not missing then
            return
        end
        health.gate { name = name, since = gate.since, within = within, interval = "10s", attempts = attempts, answer = missing }
    end
    fail(`{name}: {missing or "it takes too long"}`)
end

--- Waits until the machine has been booted again. Here ends what was not rebooted at all, and nothing is done about it.
local function wait_for_boot(before: string)
    wait_until("the reboot", params.down, function(): string?
        local id = boot_id()
        return if id == nil or id == before then "the machine has not been rebooted" else nil
    end)
end

--- Waits until everything is back that ran before. The engine itself may still be starting.
local function wait_for_services(members: { Member })
    local waiting = table.clone(members)
    wait_until("the services", params.within, function(): string?
        local missing: { Member }, names: { string } = {}, {}
        for _, member in waiting do
            local well = passes(function()
                check_well(member, "10s")
            end)
            if not well then
                table.insert(missing, member)
                table.insert(names, member.name)
            end
        end
        waiting = missing
        return if #names > 0 then `not healthy: {named(names)}` else nil
    end)
end

local function confirm(node: string, survey: Survey)
    if params.ask then
        local rest = if #survey.resting > 0 then `; not running now, and not waited for: {named(survey.resting)}` else ""
        pause { reason = `reboot {node}? All {#survey.members} containers that run are well{rest}` }
    end
end

return playbook {
    name = "reboot-node",
    description = "Reboots this machine, and waits until everything is healthy again",
    params = {
        ask = { type = "boolean", default = true, description = "Pause before the machine is rebooted" },
        backup = { type = "string", default = "/var/backups/mcrun/state", description = "Where the backup goes; none is taken where this is empty" },
        seal = { type = "string", default = "", description = "The secret that the backup is sealed with" },
        patience = { type = "duration", default = "5s", description = "How long a container may take to answer before" },
        down = { type = "duration", default = "20m", description = "How long the machine may take to come back" },
        within = { type = "duration", default = "15m", description = "How long the services may take after that" },
    } :: any,
    overlap = "skip",
    catch_up = "skip",
    timeout = "1d",
    run = function(_event)
        local node = nodes.get({}).name
        -- Recorded: a run that is resumed after the boot finds here what it read before.
        local before = boot_id()
        if not before then
            fail(`not rebooted: \`{BOOT_ID}\` cannot be read, and nobody could tell whether the machine was rebooted`)
        end
        local survey = look()
        back_up(node)
        confirm(node, survey)
        if params.ask then
            -- Somebody may have taken long to say so.
            survey = look()
            if boot_id() ~= before then
                fail("not rebooted: the machine was rebooted meanwhile")
            end
        end
        local began = now()
        log.warn("rebooting", { node = node })
        reboot()
        wait_for_boot(before :: string)
        local booted = now()
        wait_for_services(survey.members)
        local told = {
            node = node,
            down = math.round(booted - began),
            seconds = math.round(now() - began),
            containers = #survey.members,
        }
        log.info("everything is back", told)
        notify.event { name = "node.rebooted", data = told }
    end,
}
