//! A secret is put wherever a script may put one, and looked for in all that a run writes, keeps and shows.

use std::fs;

use super::search::{SECRET, search, search_seen, search_state};
use super::{place_with_sealed, place_with_secret};
use crate::harness::Place;
use crate::secrets::echo;

/// Puts the secret wherever one is taken, and lets every program echo it.
pub(super) const PLANTED: &str = r#"
local key = secrets.get("web/key")
local here = args[1]
local both = "a:" .. key .. ":" .. key .. ":z"

-- Programs are given it, and say it again, spelt as it is.
local shell = 'printf "%s %s" "$1" "$KEY"; cat; cat "$FILE_FILE"; printf "%s" "$KEY" >&2; exit 3'
local function program(check, text)
    return {
        argv = { "/bin/sh", "-c", shell, "sh", text },
        env = { KEY = key },
        secrets = { FILE = key },
        stdin = both,
        check = check,
        assume = { code = 3, stdout = "", stderr = "" },
    }
end
local out = exec.run(program(false, both))
print("run", out.stdout, out.stderr)
log.info(out.stdout, { text = out.stderr, [out.stdout] = 1 })
log.error(out.stderr)
progress({ [out.stderr] = out.stdout })
local failed = select(2, pcall(exec.run, program(true, key)))
print("failed", failed.message, failed.cause, table.concat(failed.details or {}, "|"))
print(pcall(error, failed))
local looked = exec.query { argv = { "/bin/sh", "-c", 'echo "$1$KEY"; cat', "sh", key }, env = { KEY = key }, stdin = key }
print("query", looked.stdout)
step("named", function() print("in a step", looked.stdout) end)

-- Files hold it; then they are read, listed, changed, packed, unpacked, removed.
files.write { path = here .. "/a/secret", secret = key, parents = true }
files.write { path = here .. "/a/both", secret = both }
files.template { path = here .. "/a/template", template = "x={{ key }}\n", secrets = { key = key } }
print("read", files.read({ path = here .. "/a/secret" }).content)
print("read", files.read({ path = here .. "/a/template" }).content)
log.info("stat", { stat = files.stat { path = here .. "/a/secret" } })
files.archive { path = here .. "/a.tar.zst", source = here .. "/a" }
files.extract { path = here .. "/b", archive = here .. "/a.tar.zst" }
files.sync { path = here .. "/c", source = here .. "/a" }
files.write { path = here .. "/a/secret", content = "another" }
files.template { path = here .. "/a/template", template = "nothing\n" }
files.write { path = here .. "/c/both", content = "another" }
files.remove { path = here .. "/a/both" }

-- A service has it as a file, and shows it.
containers.ensure {
    name = "web",
    exec = { "/bin/sh", "-c", 'cat "$KEY_FILE"; cat "$KEY_FILE" >&2; exec sleep 600' },
    secrets = { KEY = key },
    labels = { tier = "web" },
}
print("container", json.encode(containers.get { name = "web" }, { empty = "table" }))
local beside = containers.exec { name = "web", argv = { "/bin/sh", "-c", 'cat "$KEY_FILE"; exit 0' }, assume = { code = 0, stdout = "", stderr = "" } }
print("beside", beside.stdout)

-- A web server is given it, and says it again.
local assumed = { status = 200, headers = {}, body = "", url = "" }
print(http.request({ url = args[2] .. "/a", headers = { authorization = "Bearer " .. key }, body = both, assume = assumed }).body)
print(http.request({ url = args[2] .. "/b", json = { list = { key } }, assume = assumed }).body)
print(http.get({ url = args[2] .. "/c", headers = { ["x-key"] = key } }).body)

-- Records and values of the run's own.
registry.put { service = "web", spec = { key = key, both = { both } } }
print(checkpoint("kept", function() return { out.stdout, looked.stdout } end)[1])
on_failure(function(e) log.error("handler", { message = e.message }) print(e.message, e.cause) end)
transaction(function()
    files.write { path = here .. "/a/secret", secret = key }
    files.write { path = here .. "/a/secret", content = "changed again" }
    local deep = { code = out.stdout, message = looked.stdout, cause = out.stderr, hint = out.stdout, details = { out.stdout } }
    error(deep)
end)
"#;

#[test]
fn a_secret_planted_everywhere_is_found_nowhere() {
    // More than are sent: how far a plan gets is not what is looked at here.
    let (address, _server) = echo(64);
    let place = place_with_secret(&address);
    plant(&place, &address);
}

#[test]
fn a_sealed_secret_planted_everywhere_is_found_nowhere() {
    let (address, _server) = echo(64);
    let place = place_with_sealed(&address);
    plant(&place, &address);
    for words in [&["secrets", "list"][..], &["secrets", "list", "--json"], &["-v", "-v", "secrets", "list"]]
    {
        search_seen(&place.ends(0, words), &words.join(" "));
    }
    // Its own rows, whatever becomes of the key; and every file that leaves the machine.
    search_seen(&place.ends(0, &["-v", "-v", "secrets", "rotate-key"]), "rotate-key");
    search_state(&place);
    let (export, backup, passphrase) = (place.at("sealed"), place.at("backup"), place.at("passphrase"));
    fs::write(&passphrase, "correct horse battery\n").unwrap();
    let words = ["secrets", "export", &export, "--passphrase-file", &passphrase];
    search_seen(&place.ends(0, &words), "secrets export");
    search(&fs::read(&export).unwrap(), "the exported secrets");
    search_seen(&place.ends(0, &["backup", "--out", &backup]), "backup");
    search(&fs::read(&backup).unwrap(), "the backup");
    let elsewhere = Place::new();
    search_seen(&elsewhere.ends(0, &["restore", &backup]), "restore");
    search_state(&elsewhere);
    // Broken in every way, it is in no error.
    let journal = rusqlite::Connection::open(place.database()).unwrap();
    journal
        .execute("UPDATE records SET value = substr(value, 1, 60) WHERE kind = 'secret-version'", [])
        .unwrap();
    let script = place.script("broken.lua", "print(secrets.get(\"web/key\"))\n");
    let seen = place.ends(1, &["-v", "-v", &script, "--allow", "*"]);
    assert!(seen.stderr.contains("MC-P015"), "{seen}");
    search_seen(&seen, "a damaged secret");
}

/// Puts the secret of `place` everywhere, and looks for it in whatever is written and shown.
#[track_caller]
fn plant(place: &Place, address: &str) {
    let script = place.script("planted.lua", PLANTED);
    let folder = place.at("work");
    fs::create_dir(&folder).unwrap();
    let words = [script.as_str(), folder.as_str(), address, "--allow", "*"];
    for plan in [&["plan"][..], &["plan", "--json"]] {
        let seen = place.run(&[plan, words.as_slice()].concat());
        search_seen(&seen, &plan.join(" "));
    }
    let ran = place.run(&words);
    search_seen(&ran, "run");
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stdout.matches("secret(web/key").count() > 15, "it was shown by its name: {ran}");
    assert!(ran.stdout.contains("authorization: Bearer secret(web/key)"), "it was sent: {ran}");
    // It really was there: these are the script's own doing, and its reader's to guard.
    assert!(fs::read(place.path().join("work/c/secret")).unwrap() == SECRET.as_bytes());
    search_state(place);

    let run = place.newest_id();
    let looks: [&[&str]; 14] = [
        &["show", &run],
        &["show", &run, "--json"],
        &["logs", &run],
        &["logs", &run, "--json"],
        &["logs", "web"],
        &["logs", "web", "--json"],
        &["runs"],
        &["runs", "--json"],
        &["ps", "--all"],
        &["ps", "--json"],
        &["status"],
        &["status", "web", "--json"],
        &["undo", &run, "--plan"],
        &["undo", &run, "--plan", "--json"],
    ];
    for words in looks {
        // A service's own output is what it wrote: it is kept and shown as it is, and nothing else is looked at.
        if !words.starts_with(&["logs", "web"]) {
            search_seen(&place.run(words), &words.join(" "));
        }
    }
    search_seen(&place.run(&["-v", "-v", "-v", "show", &run]), "-vvv show");
    let export = place.at("export");
    search_seen(&place.ends(0, &["export", &run, "--out", &export]), "export");
    search(&fs::read(&export).unwrap(), "the exported run");
    let elsewhere = Place::new();
    elsewhere.ends(0, &["import", &export]);
    search_state(&elsewhere);
    let undone = place.run(&["undo", &run, "--yes"]);
    search_seen(&undone, "undo");
    search_state(place);
    search_seen(&place.run(&["show", &place.newest_id(), "--json"]), "show of the undo");
}
