//! A secret that cannot be used, or whose plan is saved, is in no error and in no plan.

use std::fs;

use super::place_with_secret;
use super::search::{search, search_seen, search_state};

#[test]
fn a_secret_that_cannot_be_used_is_in_no_error() {
    let place = place_with_secret("http://127.0.0.1:1");
    let here = place.path().to_str().unwrap().to_owned();
    for attempt in [
        "exec.run { argv = { \"/bin/sh\", \"-c\", \"exit 1\", key }, cwd = \"/nonexistent\" }",
        "exec.run { argv = { \"/nonexistent/program\", key } }",
        "exec.run { argv = { key } }",
        "exec.run { argv = { \"/bin/sh\", \"-c\", key } }",
        "exec.run { argv = { \"/bin/sleep\", \"9\" }, env = { A = key }, timeout = \"50ms\" }",
        "exec.run { argv = { \"/bin/echo\", key }, cwd = key }",
        "files.write { path = args[1] .. \"/none/file\", secret = key }",
        "files.write { path = args[1] .. \"/\" .. key, content = \"x\" }",
        "files.write { path = args[1] .. \"/x\", secret = key, owner = \"nobody-of-this-name\" }",
        "files.template { path = args[1] .. \"/x\", template = \"{{ key | nothing }}\", secrets = { key = key } }",
        "files.template { path = args[1] .. \"/x\", template = \"{{ key.a.b }}\", secrets = { key = key } }",
        "files.template { path = args[1] .. \"/x\", template = \"{{ 1 / key }}\", secrets = { key = key } }",
        "files.template { path = args[1] .. \"/x\", template = \"{{ key | int }}\", secrets = { key = key } }",
        "http.get { url = \"http://127.0.0.1:1/x\", headers = { authorization = key }, timeout = \"1s\" }",
        "http.request { url = \"http://127.0.0.1:1/x\", headers = { authorization = key .. \"\\n\" }, timeout = \"1s\" }",
        "http.request { url = \"http://127.0.0.1:1/x\", headers = { [key] = \"x\" }, timeout = \"1s\" }",
        "http.request { url = \"http://127.0.0.1:1/x\", body = key, timeout = \"1s\" }",
        "http.request { url = \"http://127.0.0.1:1/x?\" .. key, timeout = \"1s\" }",
        "containers.ensure { name = \"web\", exec = { \"/bin/sh\", \"-c\", \"cat $KEY_FILE >&2; exit 1\" }, secrets = { KEY = key } }",
        "containers.ensure { name = \"web\", exec = { \"/bin/sh\", \"-c\", \"sleep 9\" }, secrets = { [\"not a name\"] = key } }",
        "containers.ensure { name = key, exec = { \"/bin/true\" } }",
        "containers.ensure { name = \"web\", exec = { \"/bin/true\" }, labels = { a = key } }",
        "images.ensure { image = \"127.0.0.1:1/a:v1\", auth = { username = \"a\", password = key } }",
        "images.ensure { image = key }",
        "registry.put { service = key, spec = {} }",
        "secrets.get(\"web/\" .. key)",
        "sleep(key)",
        "wait_for { event = key }",
        "step(key, print)",
        "require(key)",
        "json.encode({ key })",
        "hash.sha256(key)",
        "base64.encode(key)",
        "regex.find(key, \"x\")",
        "toml.encode({ a = key })",
        "checkpoint(\"a\", function() return key end) fail(\"x\")",
        "notify.event { name = \"told\", data = { key = key } } fail(\"x\")",
        "notify.event { name = key }",
        "approve { title = key, within = \"10ms\" }",
        "approve { title = \"x\", body = \"see \" .. key, plan = key, within = \"10ms\" }",
        "approve { title = \"x\", by = key, within = \"10ms\" }",
        "docs.push { slug = key, title = \"x\", body = \"x\" }",
        "docs.push { slug = \"x\", title = key, body = \"see \" .. key }",
        "pause { reason = key }",
        "checkpoint(\"a\", function() return tostring(key) end)",
        "parallel { a = function() error(key) end }",
        "parallel({ on_failure = \"cancel\" }, { a = function() fail(key) end, b = function() sleep(\"1h\") end })",
        "transaction(function() error({ code = \"X\", message = \"x\" .. key }) end)",
        "retry({ times = 2 }, function() error(key) end)",
        "table.sort({ 1, 2 }, function() return key < key end)",
        "local t = {} t[key] = 1 log.info(\"keys\", t) print(t) for k in t do print(k) end exec.run(t)",
        "print(string.format(\"%s\", key))",
        "print(`{key}`)",
        "runs.fold { opened = 1, value = key }",
        "runs.restore { scope = key, counter = 1 }",
    ] {
        let text = format!("local key = secrets.get(\"web/key\")\n{attempt}\n");
        let script = place.script("attempt.lua", &text);
        for words in [&["plan"][..], &["run", "--json"]] {
            let seen = place.run(&[words, &[&script, &here, "--allow", "*"]].concat());
            let what = format!("{} {attempt}", words.join(" "));
            search_seen(&seen, &what);
            assert!(!seen.stderr.contains("panicked"), "{what}: {seen}");
            let is_plan = words == ["plan"];
            assert!(is_plan || seen.code != Some(0), "{what}: {seen}");
        }
    }
    search_state(&place);
}

#[test]
fn a_secret_is_in_no_saved_plan() {
    let place = place_with_secret("http://127.0.0.1:1");
    let text = r#"
        local key = secrets.get("web/key")
        files.write { path = args[1] .. "/secret", secret = key }
        files.template { path = args[1] .. "/template", template = "x={{ key }}", secrets = { key = key } }
        exec.run { argv = { "/bin/sh", "-c", "true", key }, env = { KEY = key }, assume = { code = 0, stdout = "", stderr = "" } }
        containers.ensure { name = "web", exec = { "/bin/sleep", "600" }, secrets = { KEY = key } }
        registry.put { service = "web", spec = { key = "x:" .. key } }
    "#;
    let script = place.script("a.lua", text);
    let (folder, plan) = (place.path().canonicalize().unwrap(), place.at("plan"));
    // Once more over what the first has made: what is there now is a secret too.
    for round in 0..2 {
        let words = ["plan", &script, folder.to_str().unwrap(), "--allow", "*", "--out", &plan];
        search_seen(&place.run(&words), "plan --out");
        search(&fs::read(&plan).expect("the plan was saved"), "the saved plan");
        let applied = place.run(&["apply", &plan]);
        search_seen(&applied, "apply");
        assert_eq!(applied.code, Some(0), "round {round}: {applied}");
        search_state(&place);
        fs::remove_file(&plan).unwrap();
    }
}
