--!strict
-- hello.lua: a native program as a service, on a machine that has nothing but mcrun.
--
--     mcrun scripts/demo/hello.lua --set mcrun=/absolute/path/of/mcrun
--
-- With `--set hostname=hello.mcrun.test` it is reached by that name: a certificate, a route of the proxy and a record of the
-- name come with it.
local deploy = require("@std/deploy")

local program = params.mcrun
if not program then
    fail("say where mcrun is, since the demo's service is part of it: --set mcrun=/absolute/path/of/mcrun")
end

local hello = deploy.service {
    name = "hello",
    version = params.version or "v1.0.0",
    exec = { program, "demo-server", params.message or "Hello from a service that mcrun deployed." },
    replicas = params.replicas or 1,
    routes = { { mode = "l7", hostname = params.hostname, listen = params.listen } },
    health = { http = "/v1/health", within = "10s", interval = "50ms" },
}

local release = deploy.rollout(hello, { strategy = params.strategy })
log.info("deployed", { version = release.version, changed = release.changed })
print(release.urls[1] or `http://127.0.0.1:{release.ports.http}/`)
