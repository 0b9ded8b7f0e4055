--!strict
-- visit.lua: prints what a web server answers.
--
--     mcrun scripts/demo/visit.lua http://127.0.0.1:8080/ --allow http
local url = args[1]
if not url then
    fail("say which address to visit")
end
local answer = http.get { url = url }
print(answer.body)
