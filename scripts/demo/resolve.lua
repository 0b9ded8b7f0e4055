--!strict
-- resolve.lua: prints the address that a name leads to, as the platform's own name server answers.
--
--     mcrun scripts/demo/resolve.lua hello.mcrun.test --allow dns:read
local name = args[1]
if not name then
    fail("say which name to look up")
end
local found = dns.resolve { name = name }
if not found then
    fail(`there is no {name}`)
else
    print(found.values[1])
end
