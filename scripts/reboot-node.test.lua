--!strict
local test = require("@std/test")

local COMMAND = "cat /proc/sys/kernel/random/boot_id"

local function boots(id: string, times: number?)
    test.answer { effect = "exec.query", subject = COMMAND, result = { stdout = `{id}\n` }, times = times }
end

--- A machine that is up, with services that can say how they are.
local function machine()
    boots("one")
    for _, name in { "web", "db" } do
        test.equal(test.run("./demo/named.lua", { args = { name, `{name}.mcrun.test` } }).exit_code, 0)
    end
    test.answer { effect = "exec.run", subject = "systemctl reboot", result = { code = 0 } }
end

--- The machine comes back once it was asked for its boot `times` times.
local function comes_back(times: number)
    boots("two")
    boots("one", times)
end

local function count(ran: any, name: string): number
    local found = 0
    for _, effect in ran.effects do
        found += if effect.effect == name then 1 else 0
    end
    return found
end

--- The wait for a machine that stays as it is ends.
local function never_down()
    test.fault { effect = "health.gate", subject = "the reboot", skip = 3, code = "MC-H001", message = "the machine has not been rebooted" }
end

local at_once = { params = { ask = false } }

test("nothing is rebooted before somebody has agreed, and a backup is there by then", function()
    machine()
    local ran = test.run("./reboot-node.lua")
    test.equal(ran.exit_code, 6)
    test.equal(count(ran, "registry.backup"), 1)
    test.equal(count(ran, "exec.run"), 0)
end)

test("a reboot is over once everything is healthy again, and is told", function()
    machine()
    comes_back(3)
    test.fault { effect = "containers.wait_healthy", subject = "db", skip = 1, times = 2, code = "MC-H001" }
    local ran = test.run("./reboot-node.lua", at_once)
    test.equal(ran.exit_code, 0)
    test.equal(count(ran, "exec.run"), 1)
    test.equal(count(ran, "exec.query"), 4)
    test.equal(count(ran, "containers.wait_healthy"), 2 + 2 + 1 + 1)
    test.equal(count(ran, "notify.event"), 1)
    test.equal(count(ran, "containers.stop"), 0)
end)

test("what does not come back fails the run", function()
    machine()
    comes_back(1)
    test.fault { effect = "containers.wait_healthy", subject = "db", skip = 1, code = "MC-H001" }
    test.fault { effect = "health.gate", subject = "the services", skip = 3, code = "MC-H001", message = "not healthy: db" }
    local ran: any = test.run("./reboot-node.lua", at_once)
    test.equal(ran.exit_code, 1)
    test.equal(ran.error.message, "not healthy: db")
    test.equal(count(ran, "notify.event"), 0)
end)

test("a reboot that was cut and took place is not repeated", function()
    machine()
    comes_back(1)
    test.fault { effect = "exec.run", outcome = "loses_answer", code = "MC-J002" }
    local ran = test.run("./reboot-node.lua", at_once)
    test.equal(ran.exit_code, 0)
    test.equal(count(ran, "exec.run"), 1)
end)

test("a plan shows the reboot and assumes that everything comes back", function()
    machine()
    local planned = test.plan("./reboot-node.lua", at_once)
    test.equal(planned.exit_code, 0)
    test.equal(count(planned, "exec.run"), 1)
end)

test("a machine that does not go down fails the run, and is asked once", function()
    machine()
    never_down()
    local ran: any = test.run("./reboot-node.lua", at_once)
    test.equal(ran.exit_code, 1)
    test.equal(ran.error.message, "the machine has not been rebooted")
    test.equal(count(ran, "exec.run"), 1)
    test.equal(count(ran, "containers.stop"), 0)
end)

test("a reboot that was cut and did not take place is not repeated either", function()
    machine()
    never_down()
    test.fault { effect = "exec.run", outcome = "loses_answer", code = "MC-J002" }
    local ran: any = test.run("./reboot-node.lua", at_once)
    test.equal(ran.error.message, "the machine has not been rebooted")
    test.equal(count(ran, "exec.run"), 1)
end)

test("a command that fails fails the run at once", function()
    machine()
    test.answer { effect = "exec.run", subject = "systemctl reboot", result = { code = 1, stderr = "Access denied" } }
    local ran: any = test.run("./reboot-node.lua", at_once)
    test.equal(ran.exit_code, 1)
    test.equal(ran.error.message, "`systemctl reboot` ended with exit code 1: Access denied")
    test.equal(count(ran, "health.gate"), 0)
end)

test("what is not healthy speaks against it", function()
    machine()
    test.fault { effect = "containers.wait_healthy", subject = "db", code = "MC-H001" }
    local ran = test.run("./reboot-node.lua", at_once)
    test.equal(ran.exit_code, 1)
    test.equal(count(ran, "exec.run"), 0)
    test.equal(count(ran, "registry.backup"), 0)
end)

test("requests that wait and containers beside what is recorded speak against it", function()
    machine()
    routes.pause { listen = 443, hostname = "web.mcrun.test" }
    test.equal(count(test.run("./reboot-node.lua", at_once), "exec.run"), 0)
    routes.resume { listen = 443, hostname = "web.mcrun.test" }
    containers.ensure { name = "web-b", image = "mcr.example/web:v2", service = "web" }
    local ran: any = test.run("./reboot-node.lua", at_once)
    test.equal(ran.error.message, "not rebooted: web: web-b runs beside what is recorded")
    test.equal(count(ran, "exec.run"), 0)
end)

test("what was stopped is neither in the way nor waited for", function()
    machine()
    never_down()
    test.equal(test.run("./demo/named.lua", { args = { "db", "db.mcrun.test", "stop" } }).exit_code, 0)
    test.fault { effect = "containers.wait_healthy", subject = "db", code = "MC-H001" }
    test.equal(count(test.run("./reboot-node.lua", at_once), "exec.run"), 1)
end)

test("where nobody can tell one boot from the next, nothing is rebooted", function()
    machine()
    test.answer { effect = "exec.query", subject = COMMAND, result = { code = 1 } }
    test.equal(count(test.run("./reboot-node.lua", at_once), "exec.run"), 0)
end)

test("what may not be done is told as such", function()
    machine()
    local ran = test.run("./reboot-node.lua", { params = { ask = false }, deny = { "exec:write" } })
    test.equal(ran.exit_code, 4)
end)
