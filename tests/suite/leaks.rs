//! A secret is planted in every position in which one may be put or found, and searched for, in every spelling, in every byte
//! that mcrun shows or keeps: output, errors, logs, plans, the journal and its log, blobs, the whole state directory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use crate::harness::{Place, Seen, until};
use crate::secrets::echo;

/// Letters of which every spelling is another: JSON, shells, web addresses and base64 all write them differently.
const SECRET: &str = "pl4nt3d-\"q\\u0te&<7f>/+ =?%{end}";

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let three = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let number = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        for place in 0..=chunk.len() {
            text.push(char::from(LETTERS[(number >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

fn percent(keeps: &str) -> String {
    let spelled = |byte: u8| match char::from(byte) {
        letter if letter.is_ascii_alphanumeric() || keeps.contains(letter) => letter.to_string(),
        _ => format!("%{byte:02X}"),
    };
    SECRET.bytes().map(spelled).collect()
}

/// Every way in which the secret may be spelt.
fn spellings() -> Vec<(&'static str, Vec<u8>)> {
    let bytes = SECRET.as_bytes();
    let json = serde_json::to_string(SECRET).unwrap();
    let twice = serde_json::to_string(&json).unwrap();
    let hex = |upper: bool| -> String {
        bytes.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
    };
    let mut all = vec![
        ("plain", SECRET.to_owned()),
        ("JSON", json.trim_matches('"').to_owned()),
        ("JSON in JSON", twice[3..twice.len() - 3].to_owned()),
        ("Rust", format!("{SECRET:?}").trim_matches('"').to_owned()),
        ("hex", hex(false)),
        ("hex in capitals", hex(true)),
        ("web address", percent("-_.~")),
        ("web path", percent("-_.~/+=&")),
        ("form", percent("-_.*").replace("%20", "+")),
        ("reversed", SECRET.chars().rev().collect()),
        ("lower case", SECRET.to_lowercase()),
        ("upper case", SECRET.to_uppercase()),
        ("the start", SECRET[..10].to_owned()),
        ("the end", SECRET[SECRET.len() - 10..].to_owned()),
    ];
    // In a longer text, base64 may begin one or two bytes earlier; the ends belong to the neighbours.
    for before in 0..3 {
        let shifted = [vec![b'.'; before], bytes.to_vec()].concat();
        let text = base64(&shifted);
        let inner = &text[(before * 8).div_ceil(6)..text.len() - 4];
        all.push(("base64", inner.to_owned()));
        all.push(("base64 for addresses", inner.replace('+', "-").replace('/', "_")));
    }
    let wide: Vec<u8> = SECRET.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut all: Vec<(&str, Vec<u8>)> =
        all.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
    all.push(("UTF-16", wide));
    all
}

#[track_caller]
fn search(bytes: &[u8], place: &str) {
    for (name, spelling) in spellings() {
        assert!(spelling.len() >= 8, "{name} is too short to be searched for");
        if let Some(at) = bytes.windows(spelling.len()).position(|window| window == spelling) {
            let around = String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + 100).min(bytes.len())]);
            panic!("the secret, {name}, is in {place}:\n{around}");
        }
    }
}

#[track_caller]
fn search_seen(seen: &Seen, what: &str) {
    search(seen.stdout.as_bytes(), &format!("what `{what}` writes"));
    search(seen.stderr.as_bytes(), &format!("what `{what}` writes as errors"));
}

/// Everything in the state directory, and what SQLite and tar would give out of it.
#[track_caller]
fn search_state(place: &Place) {
    let mut folders = vec![place.state()];
    let mut looked = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            search(entry.file_name().as_encoded_bytes(), "the name of a file");
            // What a native service writes is its own, and kept as it is, like the logs of an engine.
            let is_output = entry
                .path()
                .parent()
                .and_then(|folder| folder.parent())
                .is_some_and(|above| above.ends_with("process"))
                && entry.file_name().to_string_lossy().starts_with("log");
            if is_output {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                looked += 1;
                search(&fs::read(entry.path()).unwrap(), &entry.path().display().to_string());
            }
        }
    }
    assert!(looked > 1, "there is a journal to look into");
    let journal = rusqlite::Connection::open(place.database()).unwrap();
    let tables: Vec<String> = journal
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    for table in tables {
        let mut rows = journal.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                if let rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) =
                    row.get_ref(column).unwrap()
                {
                    search(bytes, &format!("the table {table}"));
                }
            }
        }
    }
}

/// Wherever a secret may go at all.
fn destinations(place: &Place, address: &str) -> Vec<String> {
    let here = place.path().canonicalize().unwrap();
    [
        "exec:/usr/bin/dash",
        "exec:/usr/bin/sleep",
        "exec:/usr/bin/echo",
        "containers:web",
        "images:127.0.0.1:1",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("http:{address}/**"), format!("files:{}/**", here.display())])
    .collect()
}

/// A place whose secret lies in the sealed store.
fn place_with_sealed(address: &str) -> Place {
    let place = Place::new();
    let to = destinations(&place, address);
    let to = to.iter().flat_map(|pattern| ["--to", pattern]);
    let words: Vec<&str> = ["set", "web/key"].into_iter().chain(to).collect();
    crate::sealed::set(&place, &words, format!("{SECRET}\n").as_bytes());
    place
}

/// A place whose secret is in a file.
fn place_with_secret(address: &str) -> Place {
    let place = Place::new();
    fs::write(place.at("secret"), format!("{SECRET}\n")).unwrap();
    fs::set_permissions(place.at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let to = destinations(&place, address);
    place.configure(&format!(
        "[drivers]\ncontainers = \"process\"\n[secrets.\"web/key\"]\nfile = \"{}\"\nto = {to:?}\n",
        place.at("secret")
    ));
    place
}

/// Puts the secret wherever one is taken, and lets every program echo it.
const PLANTED: &str = r#"
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

#[test]
fn a_sealed_secret_is_in_no_list_of_processes() {
    let place = place_with_sealed("http://127.0.0.1:1");
    let text = "local key = secrets.get(\"web/key\")\ncontainers.ensure { name = \"web\", exec = { \"/bin/sleep\", \"600\" }, secrets = { KEY = key } }\nsleep(\"10m\")\n";
    let script = place.script("wait.lua", text);
    let host = place.start(&[&script, "--allow", "*"]);
    until("the run waits", || {
        place.runs().first().is_some_and(|run| run["state"] == "waiting").then_some(())
    });
    let mut looked = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        for file in ["cmdline", "environ", "comm"] {
            // One that has ended meanwhile has neither.
            let Ok(bytes) = fs::read(format!("/proc/{pid}/{file}")) else { continue };
            looked += usize::from(pid == host.pid());
            search(&bytes, &format!("{file} of process {pid}"));
        }
    }
    assert_eq!(looked, 3, "the host was looked at");
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

/// Takes whatever is sent to it, for as long as the test lasts.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (Ok(mut connection), ear) = (connection, ear.clone()) else { return };
            std::thread::spawn(move || {
                let mut buffer = [0; 64 << 10];
                // What is sent is not looked at, so its end is not known: whoever sends waits for no answer but this one.
                while let Ok(count @ 1..) = connection.read(&mut buffer) {
                    ear.lock().unwrap().extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    }
                }
            });
        }
    });
    (address, heard)
}

#[test]
fn a_secret_is_in_nothing_that_a_daemon_tells_of_its_runs() {
    let (address, _server) = echo(64);
    let place = place_with_secret(&address);
    let (endpoint, heard) = collector();
    let settings = fs::read_to_string(place.config()).unwrap();
    let settings = settings.split("[node]").next().unwrap().to_owned();
    place.configure(&format!("{settings}[telemetry]\nendpoint = \"{endpoint}\"\nevery = \"100ms\"\n"));
    let mut command = place.command(&["-v", "-v", "-v", "serve"]);
    command.env("RUST_BACKTRACE", "full");
    let daemon = place.spawn(command);
    until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
    let script = place.script("planted.lua", PLANTED);
    let folder = place.at("work");
    fs::create_dir(&folder).unwrap();
    let ran = place.run(&[&script, &folder, &address, "--allow", "*"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    search_seen(&ran, "a run of the daemon");
    until("the run was told of", || {
        let heard = heard.lock().unwrap();
        let is_told = heard.windows(8).any(|part| part == b"exec.run");
        is_told.then_some(())
    });
    search(&heard.lock().unwrap(), "what the collector of traces and figures got");
    for words in [&["audit"][..], &["audit", "--json"], &["events", "--json"], &["doctor", "--json"]] {
        search_seen(&place.run(words), &words.join(" "));
    }
    // That it was used is told, where and by whom.
    let audit = place.ends(0, &["audit", "--json"]).stdout;
    for place in ["exec:/usr/bin/dash", "containers:web", "files:"] {
        let told = |line: &&str| line.contains("\"secrets.use\"") && line.contains(place);
        let line = audit.lines().find(told).unwrap_or_else(|| panic!("{place} is missing: {audit}"));
        assert!(line.contains("web/key") && line.contains("user:") && line.contains("\"run\":\""), "{line}");
    }
    search(daemon.stderr().as_bytes(), "the log of the daemon");
    crate::processes::signal(daemon.pid(), rustix::process::Signal::TERM);
    search_seen(&daemon.end(), "serve");
    search_state(&place);
}

#[test]
fn a_secret_of_a_container_is_in_nothing_that_its_engine_tells() {
    use crate::on_podman::{Engine, podman};

    let engine = Engine::new();
    let place = &engine.place;
    fs::write(place.at("secret"), SECRET).unwrap();
    fs::set_permissions(place.at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    engine.configure(&format!(
        "[secrets.\"web/key\"]\nfile = \"{}\"\nto = [\"containers:*\"]\n",
        place.at("secret")
    ));
    let text = "containers.ensure { name = params.name, image = params.image, secrets = { KEY = secrets.get(\"web/key\") } }";
    let script = place.script("a.lua", text);
    let (name, image) = (format!("name={}", engine.name), format!("image={}:v1", engine.image()));
    let words = [&*script, "--allow", "*", "--set", &name, "--set", &image];
    search_seen(&place.ends(0, &words), "run");
    let shown = podman(&["exec", &engine.name, "/bin/busybox", "sh", "-c", "cat \"$KEY_FILE\""]);
    assert_eq!(shown, SECRET, "the container has it");
    let inspected = podman(&["inspect", &engine.name]);
    search(inspected.as_bytes(), "podman inspect");
    for words in [
        &["ps", "--all", "--format", "json"][..],
        &["secret", "ls", "--format", "json"],
        &["logs", &engine.name],
    ] {
        search(podman(words).as_bytes(), &words.join(" "));
    }
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    let folder = std::path::Path::new(inspected[0]["StaticDir"].as_str().unwrap());
    let files: Vec<_> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(files.iter().any(|file| file.ends_with("config.json")), "{files:?}");
    for file in files.iter().filter(|file| file.is_file()) {
        search(&fs::read(file).unwrap(), &file.display().to_string());
    }
    search_seen(&place.run(&["undeploy", &engine.name, "--yes"]), "undeploy");
    search_state(place);
}
