--!strict
local test = require("@std/test")

local HOSTNAME = "web.mcrun.test"

--- A service with its zone; its name resolves to `address`, or to nothing.
local function service(address: string?, word: string?)
    dns.zones.ensure { zone = "mcrun.test" }
    local words = { "web", HOSTNAME }
    if word then
        table.insert(words, word)
    end
    test.equal(test.run("./demo/named.lua", { args = words }).exit_code, 0)
    test.answer { effect = "dns.resolve", result = { values = { address } } }
end

--- Audits, fails the test unless it is told as `findings`, and shows the lines that were.
local function audit(findings: number): string
    local ran = test.run("./audit-names.lua")
    test.equal(ran.exit_code, if findings == 0 then 0 else 1)
    test.equal(ran.changed, false)
    local said: any = if ran.error then ran.error.message else ""
    if findings > 0 then
        test.equal(string.match(said, "^(%d+) findings: "), tostring(findings))
    end
    return said
end

local function says(text: string, part: string)
    test.equal(string.find(text, part, 1, true) ~= nil, true, `"{part}" in "{text}"`)
end

test("a service that is reached as it is recorded has no findings", function()
    service("127.0.0.1")
    local ran = test.plan_equals_apply("./audit-names.lua")
    test.equal(ran.exit_code, 0)
    test.equal(ran.changed, false)
    audit(0)
end)

test("a route that is gone is found, and nothing is repaired", function()
    service("127.0.0.1")
    routes.remove { listen = 443, hostname = HOSTNAME }
    says(audit(1), `the route {HOSTNAME}:443 does not stand`)
    test.equal(routes.get { listen = 443, hostname = HOSTNAME }, nil)
end)

test("a route that leads elsewhere is found", function()
    service("127.0.0.1")
    routes.ensure { listen = 443, hostname = HOSTNAME, service = "web", cert = HOSTNAME, backends = { "127.0.0.1:9" } }
    says(audit(1), "leads to 127.0.0.1:9, and should to 127.0.0.1:")
end)

test("a back end that does not answer is found", function()
    service("127.0.0.1")
    test.fault { effect = "health.tcp", code = "MC-H001" }
    says(audit(1), `of {HOSTNAME} does not answer`)
end)

test("what is amiss for a moment alone is no finding", function()
    service("127.0.0.1")
    test.fault { effect = "health.tcp", code = "MC-H001", times = 1 }
    audit(0)
end)

test("a name that leads elsewhere is found, and so is one that nobody knows", function()
    service("192.0.2.9")
    says(audit(1), `{HOSTNAME} A is 192.0.2.9, and should be 127.0.0.1`)
    test.answer { effect = "dns.resolve", result = { values = {} } }
    says(audit(1), `{HOSTNAME} A is nothing, and should be 127.0.0.1`)
end)

test("a certificate that nobody renewed is found, and so is one that has expired", function()
    service("127.0.0.1")
    sleep("80d")
    says(audit(1), `the certificate {HOSTNAME} was not renewed and expires within`)
    sleep("20d")
    says(audit(1), `the certificate {HOSTNAME} has expired`)
end)

test("a certificate that is gone is found", function()
    service("127.0.0.1")
    test.fault { effect = "certs.get", code = "MC-E011", message = "the authority does not answer" }
    says(audit(1), `the certificate {HOSTNAME} cannot be looked at: MC-E011: the authority does not answer`)
end)

test("a public route whose name leads to the loopback address is named as such", function()
    service("127.0.0.1", "public")
    says(audit(1), `{HOSTNAME} is public, and its name leads to the loopback address only`)
end)

test("a service that was stopped is left out", function()
    service("127.0.0.1")
    test.equal(test.run("./demo/named.lua", { args = { "web", HOSTNAME, "stop" } }).exit_code, 0)
    audit(0)
end)

test("what may not be looked at is told as such", function()
    service("127.0.0.1")
    local ran = test.run("./audit-names.lua", { allow = { "registry:read", "containers:read", "routes:read" } })
    test.equal(ran.exit_code, 4)
end)

test("a service that is not there is an error", function()
    test.equal(test.run("./audit-names.lua", { params = { service = "none" } }).exit_code, 1)
end)
