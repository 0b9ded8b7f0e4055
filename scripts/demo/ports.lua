--!strict
-- ports.lua: prints ports that are free, for what the demo starts itself.
--
--     mcrun scripts/demo/ports.lua names proxy --allow ports
for _, name in args do
    print(ports.allocate { service = "demo", name = name })
end
