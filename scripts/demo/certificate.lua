--!strict
-- certificate.lua: a certificate of the embedded authority: `mcrun scripts/demo/certificate.lua hello.mcrun.test`
local made = certs.ensure { hostnames = { args[1] or "hello.mcrun.test" } }
print(made.after.id)
