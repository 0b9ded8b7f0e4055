--!strict
-- web.lua: one container of an image that answers at a port: `mcrun scripts/demo/web.lua web 8080`, and `… stop` at the end to
-- stop it again.
local name, port, word = args[1] or "web", tonumber(args[2] or "8080") :: any, args[3]

if word == "stop" then
    containers.stop { name = name }
else
    containers.ensure {
        name = name,
        image = "localhost/web:v1",
        ports = { { host = port, container = 8080 } },
        health = { http = "/health", within = "1s" },
    }
end
