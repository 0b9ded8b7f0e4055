--!strict
-- edge.lua: the public routes of the platform, on the node that serves them.
local services = require("./services")

local edge = {}

--- The public names behind which nothing answers, each with what to look at.
function edge.broken(platform: services.Platform): { string }
    local found: { string } = {}
    for _, public in platform.public do
        local answers = pcall(function()
            health.tcp { address = public.backend, within = "2s" }
        end)
        if not answers then
            local what = `{public.hostname}: nothing answers at {public.backend}: is the port published at that address?`
            table.insert(found, what)
        end
    end
    return found
end

--- Serves every public name, and tells of those behind which nothing answers: they are as recorded, and broken.
function edge.serve(platform: services.Platform)
    step("public", function()
        for _, public in platform.public do
            certs.ensure { hostnames = { public.hostname }, name = public.hostname, profile = "public" }
            routes.ensure {
                listen = public.listen,
                hostname = public.hostname,
                mode = "l7",
                backends = { public.backend },
                backend_tls = if public.ca then { ca = public.ca } else nil,
                cert = public.hostname,
                public = true,
                -- It comes before its service, and stays when that is down.
                probe = false,
            }
        end
        for _, broken in edge.broken(platform) do
            log.warn(broken)
        end
    end)
end

--- Takes every public name away.
function edge.withdraw(platform: services.Platform)
    step("public", function()
        for index = #platform.public, 1, -1 do
            local public = platform.public[index]
            routes.remove { listen = public.listen, hostname = public.hostname }
            certs.remove { id = public.hostname }
        end
    end)
end

return table.freeze(edge)
