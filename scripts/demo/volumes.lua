--!strict
-- volumes.lua: an image as a service with folders of this machine: `mcrun scripts/demo/volumes.lua web /srv/web:/srv/web`
local deploy = require("@std/deploy")

local name = args[1] or "web"
local volumes: { string } = {}
for index = 2, #args do
    table.insert(volumes, args[index])
end
deploy.rollout(deploy.service { name = name, image = `mcr.example/{name}:v1`, volumes = volumes })
