--!strict
-- named.lua: an image as a service that is reached by a host name: `mcrun scripts/demo/named.lua web web.mcrun.test`, with
-- `public` at the end for everybody, or `stop` to stop it again.
local deploy = require("@std/deploy")
local services = require("@std/services")

local name, hostname, word = args[1] or "web", args[2] or "web.mcrun.test", args[3]

if word == "stop" then
    services.stop(name)
else
    deploy.rollout(deploy.service {
        name = name,
        image = `mcr.example/{name}:v1`,
        routes = { { port = 80, hostname = hostname, public = word == "public" } },
        health = { tcp = true },
    })
end
