--!strict
-- hello.lua: a native program as a service, on a machine that has nothing but mcrun.
--
--     mcrun scripts/demo/hello.lua --set mcrun=/absolute/path/of/mcrun
local deploy = require("@std/deploy")

local program = params.mcrun
if not program then
    fail("say where mcrun is, since the demo's service is part of it: --set mcrun=/absolute/path/of/mcrun")
end

local hello = deploy.service {
    name = "hello",
    version = "v1.0.0",
    exec = { program, "demo-server", params.message or "Hello from a service that mcrun deployed." },
    routes = { { mode = "l7" } },
    health = { http = "/v1/health", within = "10s" },
}

local release = deploy.rollout(hello)
log.info("deployed", { version = release.version, changed = release.changed })
print(`http://127.0.0.1:{release.ports.http}/`)
