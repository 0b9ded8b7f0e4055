--!strict
-- deploy.lua: a native program behind a health check. Replace `exec` by `image = "…"` for a container.
local deploy = require("@std/deploy")

local hello = deploy.service {
    name = "hello",
    version = "1",
    exec = { "/bin/sh", "-c", "while true; do echo alive; sleep 10; done" },
    restart = "unless-stopped",
    health = { exec = { "/bin/true" }, within = "10s" },
}

local release = deploy.rollout(hello, { strategy = "recreate" })
log.info("deployed", { version = release.version, changed = release.changed })
