//! The sealed store: its secrets reach runs in the version that they asked for, and come through wrong keys, damaged rows,
//! full disks and kills without a value lost or shown.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Place, Seen, until};
use crate::processes;

const OLD: &str = "first-value-of-all";
const NEW: &str = "second-and-better";

/// Runs the program with `value` on its standard input.
fn given(place: &Place, words: &[&str], value: &[u8]) -> Seen {
    let mut command = place.command(words);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses its words does not read.
    let _ = child.stdin.take().unwrap().write_all(value);
    Seen::of(child.wait_with_output().unwrap())
}

#[track_caller]
pub(crate) fn set(place: &Place, words: &[&str], value: &[u8]) {
    let seen = given(place, &[&["secrets"], words].concat(), value);
    assert_eq!(seen.code, Some(0), "{words:?}: {seen}");
}

/// A place with one sealed secret in one version, that may go to the shell and to one container.
fn place_with(settings: &str) -> Place {
    let place = Place::new();
    place.configure(&format!("[drivers]\ncontainers = \"process\"\n{settings}"));
    set(&place, &["set", "web/key", "--to", "exec:/usr/bin/dash", "--to", "containers:web"], OLD.as_bytes());
    place
}

/// What a script finds in the secret.
fn used(place: &Place) -> Seen {
    let out = place.at("got");
    let _ = fs::remove_file(&out);
    let text = format!(
        "exec.run {{ argv = {{ \"/bin/sh\", \"-c\", 'printf \"%s\" \"$KEY\" > {out}' }}, env = {{ KEY = secrets.get(\"web/key\") }} }}\n"
    );
    let script = place.script("use.lua", &text);
    place.run(&[&script, "--allow", "*"])
}

#[track_caller]
fn is_used_as(place: &Place, value: &str) {
    let seen = used(place);
    assert_eq!(seen.code, Some(0), "{seen}");
    assert_eq!(place.read("got"), value);
}

#[track_caller]
fn is_refused_with(place: &Place, code: &str) -> Seen {
    let seen = used(place);
    assert_eq!(seen.code, Some(1), "{seen}");
    assert!(seen.stderr.contains(code), "{code}: {seen}");
    assert!(!seen.stderr.contains(OLD), "{seen}");
    assert_eq!(place.read("got"), "");
    seen
}

fn listed(place: &Place) -> Value {
    place.json(&["secrets", "list", "--json"])
}

#[test]
fn a_sealed_secret_has_versions_and_tells_who_used_which() {
    let place = place_with("");
    is_used_as(&place, OLD);
    let first = place.newest_id();
    set(&place, &["rotate", "web/key"], format!("{NEW}\n").as_bytes());
    is_used_as(&place, NEW);
    let list = listed(&place);
    let secret = &list["secrets"][0];
    assert_eq!(secret["name"], "web/key");
    assert_eq!(secret["latest"], 2);
    assert_eq!(secret["versions"].as_array().unwrap().len(), 2);
    assert!(secret["versions"][0]["by"].as_str().unwrap().starts_with("user:"), "{list}");
    let uses = secret["uses"].as_array().unwrap();
    assert_eq!(uses.len(), 2, "{list}");
    assert_eq!((&uses[0]["version"], &uses[0]["run"]), (&1.into(), &first.into()));
    assert_eq!((&uses[1]["version"], &uses[1]["to"]), (&2.into(), &"exec:/usr/bin/dash".into()));
    let shown = place.ends(0, &["secrets", "list"]);
    for text in [list.to_string(), shown.stdout, shown.stderr] {
        assert!(!text.contains(OLD) && !text.contains(NEW), "{text}");
    }
    // Only as many versions are kept as are wanted.
    for _ in 0..3 {
        set(&place, &["rotate", "web/key", "--generate", "40", "--keep", "2"], b"");
    }
    assert_eq!(listed(&place)["secrets"][0]["versions"].as_array().unwrap().len(), 2);
    assert_eq!(used(&place).code, Some(0));
    assert_eq!(place.read("got").len(), 40);
    place.ends(0, &["secrets", "remove", "web/key", "--yes"]);
    assert_eq!(listed(&place)["secrets"], Value::Array(Vec::new()));
    is_refused_with(&place, "MC-P010");
}

#[test]
fn a_plan_names_the_version_and_a_rotation_makes_the_container_differ() {
    let place = place_with("");
    let text = "local made = containers.ensure { name = \"web\", exec = { \"/bin/sleep\", \"600\" }, secrets = { KEY = secrets.get(\"web/key\") } }\n\
                print(secrets.get(\"web/key\"), made.changed)\n";
    let script = place.script("deploy.lua", text);
    let deployed = |said: &str| {
        let seen = place.ends(0, &[&script, "--allow", "*"]);
        assert!(seen.stdout.contains(said), "{said}: {seen}");
    };
    deployed("web/key@1)\ttrue");
    deployed("web/key@1)\tfalse");
    let rotated = given(&place, &["secrets", "rotate", "web/key"], NEW.as_bytes());
    rotated.says(&["web/key@2 is in force", "container web"]);
    assert_eq!(listed(&place)["secrets"][0]["behind"], serde_json::json!(["container web"]));
    let plan = place.json(&["plan", &script, "--allow", "*", "--json"]);
    assert!(plan.to_string().contains("KEY is secret(web/key@2)"), "{plan}");
    deployed("web/key@2)\ttrue");
    assert_eq!(listed(&place)["secrets"][0]["behind"], serde_json::json!([]));
}

#[test]
fn a_resumed_run_gets_the_version_that_it_had() {
    let place = place_with("");
    let out = place.at("got");
    let text = format!(
        "local key = secrets.get(\"web/key\")\nsleep(\"1s\")\n\
         exec.run {{ argv = {{ \"/bin/sh\", \"-c\", 'printf \"%s\" \"$KEY\" > {out}' }}, env = {{ KEY = key }} }}\n"
    );
    let script = place.script("wait.lua", &text);
    let host = place.start(&[&script, "--allow", "*"]);
    let run = until("the run waits", || {
        let run = place.runs().into_iter().next()?;
        (run["state"] == "waiting").then(|| run["id"].as_str().unwrap().to_owned())
    });
    processes::signal(host.pid(), Signal::INT);
    assert_eq!(host.end().code, Some(6));
    set(&place, &["rotate", "web/key"], NEW.as_bytes());
    place.ends(0, &["resume", &run]);
    assert_eq!(place.read("got"), OLD);
}

#[test]
fn a_resumed_run_is_not_given_another_secret_of_the_same_name() {
    let place = place_with("");
    let text = "local key = secrets.get(\"web/key\")\nsleep(\"1s\")\n\
                exec.run { argv = { \"/bin/sh\", \"-c\", \"true\" }, env = { KEY = key } }\n";
    let script = place.script("wait.lua", text);
    let host = place.start(&[&script, "--allow", "*"]);
    let run = until("the run waits", || {
        let run = place.runs().into_iter().next()?;
        (run["state"] == "waiting").then(|| run["id"].as_str().unwrap().to_owned())
    });
    processes::signal(host.pid(), Signal::INT);
    assert_eq!(host.end().code, Some(6));
    place.ends(0, &["secrets", "remove", "web/key", "--yes"]);
    set(&place, &["set", "web/key", "--to", "exec:/usr/bin/dash"], NEW.as_bytes());
    place.ends(1, &["resume", &run]).says(&["MC-P010", "another than the run got"]);
}

#[test]
fn a_secret_with_two_sources_and_what_is_no_secret_are_refused() {
    let place = place_with("");
    let twice =
        "[drivers]\ncontainers = \"process\"\n[secrets.\"web/key\"]\nenv = \"HOME\"\nto = [\"exec:**\"]\n";
    place.configure(twice);
    is_refused_with(&place, "MC-P013");
    let seen = given(&place, &["secrets", "set", "web/key"], b"x");
    assert!(seen.stderr.contains("MC-P013"), "{seen}");
    place.configure("[drivers]\ncontainers = \"process\"\n");
    is_used_as(&place, OLD);
    let attempts: [(&[&str], &[u8], &str); 9] = [
        (&["set", "web/other"], b"", "is not empty"),
        (&["set", "web/other"], b"\n", "is not empty"),
        (&["set", "../up"], b"x", "no name of a secret"),
        (&["set", "a@1"], b"x", "no name of a secret"),
        (&["set", "web/other", "--to", "exec:[a"], b"x", "may go"),
        (&["set", "web/other"], &[b'x'; 64 * 1024 + 1], "65536"),
        (&["set", "web/other", "a value"], b"", "unexpected argument"),
        (&["rotate", "web/kez"], b"x", "did you mean `web/key`?"),
        (&["remove", "web/kez", "--yes"], b"", "MC-P010"),
    ];
    for (words, value, said) in attempts {
        let seen = given(&place, &[&["secrets"], words].concat(), value);
        assert!(matches!(seen.code, Some(1 | 2)), "{words:?}: {seen}");
        assert!(seen.stderr.contains(said), "{words:?}: {seen}");
    }
    assert_eq!(listed(&place)["secrets"].as_array().unwrap().len(), 1);
}

#[test]
fn any_bytes_are_kept_and_where_they_may_go_is_sealed_with_them() {
    let place = place_with("");
    let bytes: Vec<u8> = (0..=255).chain([b'\n']).collect();
    fs::write(place.at("value"), &bytes).unwrap();
    let (from, to) = (place.at("value"), place.path().canonicalize().unwrap());
    let pattern = format!("files:{}/**", to.display());
    set(&place, &["set", "raw", "--to", &pattern, "--from-file", &from, "--exact"], b"");
    let text = "files.write { path = args[1] .. \"/out\", secret = secrets.get(\"raw\") }\n";
    let script = place.script("write.lua", text);
    place.ends(0, &[&script, to.to_str().unwrap(), "--allow", "*"]);
    assert_eq!(fs::read(place.at("out")).unwrap(), bytes);
    // Whoever may write the database must not widen where a value goes.
    let journal = rusqlite::Connection::open(place.database()).unwrap();
    let changed = journal.execute(
        "UPDATE records SET value = replace(value, 'exec:/usr/bin/dash', 'exec:/usr/bin/*') WHERE kind = 'secret'",
        [],
    );
    assert_eq!(changed.unwrap(), 2);
    is_refused_with(&place, "MC-P015");
}

#[test]
fn rows_that_were_swapped_cut_or_taken_away_open_nothing() {
    for (change, code) in [
        // The value of another secret in the place of this one, and an older version in the place of a newer one.
        ("value = (SELECT value FROM records WHERE name = 'other@0000000001')", "MC-P015"),
        ("value = (SELECT value FROM records WHERE name = 'web/key@0000000001')", "MC-P015"),
        ("value = substr(value, 1, length(value) / 2)", "MC-P015"),
        ("value = replace(value, '\"box\":\"', '\"box\":\"AAAA')", "MC-P015"),
        ("value = '{\"key\":\"0000000001\",\"box\":\"\"}'", "MC-P015"),
        ("name = 'web/key@0000000009'", "MC-P015"),
        ("value = replace(value, '\"key\":\"0000000001\"', '\"key\":\"0000000002\"')", "MC-P014"),
    ] {
        let place = place_with("");
        set(
            &place,
            &["set", "other", "--to", "exec:/usr/bin/dash", "--to", "containers:web"],
            b"another value",
        );
        set(&place, &["rotate", "web/key"], NEW.as_bytes());
        let journal = rusqlite::Connection::open(place.database()).unwrap();
        let sql = format!(
            "UPDATE records SET {change} WHERE kind = 'secret-version' AND name = 'web/key@0000000002'"
        );
        assert_eq!(journal.execute(&sql, []).unwrap(), 1, "{change}");
        drop(journal);
        is_refused_with(&place, code);
        // Nothing else is the worse for it, and it can be given a value again.
        assert_eq!(listed(&place)["secrets"].as_array().unwrap().len(), 2);
        if code == "MC-P015" && !change.starts_with("name") {
            set(&place, &["rotate", "web/key"], OLD.as_bytes());
            is_used_as(&place, OLD);
        }
    }
}

#[test]
fn a_missing_or_another_key_opens_nothing_and_rewrapping_changes_it() {
    let place = place_with("");
    let file = |name: &str, text: &str, mode: u32| {
        fs::write(place.at(name), text).unwrap();
        fs::set_permissions(place.at(name), fs::Permissions::from_mode(mode)).unwrap();
        place.at(name)
    };
    let with = |line: &str| {
        place.configure(&format!("[drivers]\ncontainers = \"process\"\n[secrets_store]\n{line}\n"))
    };
    let key = file("key", "0123456789abcdef0123456789abcdef", 0o600);
    with(&format!("key_file = \"{key}\""));
    is_refused_with(&place, "MC-P014");
    place.ends(0, &["secrets", "rewrap", "--from-state"]);
    is_used_as(&place, OLD);
    assert_eq!(listed(&place)["sealed_with"], "a key file");
    // Another one, one that others may read, one that is too short, and none.
    let other = file("other", "0123456789abcdef0123456789abcdeF", 0o600);
    let open = file("open", "0123456789abcdef0123456789abcdef", 0o644);
    let short = file("short", "0123456789abcdef", 0o600);
    for wrong in [&other, &open, &short, &place.at("nowhere")] {
        with(&format!("key_file = \"{wrong}\""));
        is_refused_with(&place, "MC-P014");
        let seen = given(&place, &["secrets", "rotate", "web/key"], NEW.as_bytes());
        assert!(seen.stderr.contains("MC-P014"), "{seen}");
        let seen = place.ends(1, &["secrets", "rewrap", "--from-key-file", wrong]);
        assert!(seen.stderr.contains("MC-P014"), "{seen}");
    }
    let passphrase = file("passphrase", "correct horse battery\n", 0o600);
    with(&format!("passphrase_file = \"{passphrase}\""));
    place.ends(0, &["secrets", "rewrap", "--from-key-file", &key]);
    is_used_as(&place, OLD);
    file("passphrase", "correct horse batterie\n", 0o600);
    is_refused_with(&place, "MC-P014");
    file("passphrase", "correct horse battery\n", 0o600);
    with("credential = \"mcrun-key\"");
    let seen = place.ends(1, &["secrets", "rewrap", "--from-passphrase-file", &passphrase]);
    assert!(seen.stderr.contains("CREDENTIALS_DIRECTORY"), "{seen}");
    fs::copy(&key, place.at("mcrun-key")).unwrap();
    let mut rewrap = place.command(&["secrets", "rewrap", "--from-passphrase-file", &passphrase]);
    rewrap.env("CREDENTIALS_DIRECTORY", place.path());
    assert!(rewrap.status().unwrap().success());
    is_refused_with(&place, "MC-P014");
    with(&format!("credential = \"mcrun-key\"\nkey_file = \"{key}\""));
    place.ends(2, &["secrets", "list"]).says(&["MC-U002", "at most one"]);
    with("keeps = 1");
    place.ends(2, &["secrets", "list"]).says(&["does not know the key `keeps`", "did you mean `keep`?"]);
}

#[test]
fn a_rotation_that_is_killed_anywhere_loses_nothing() {
    let place = place_with("");
    for number in 0..3 {
        set(&place, &["set", &format!("other/{number}"), "--generate", "20"], b"");
    }
    set(&place, &["rotate", "web/key"], NEW.as_bytes());
    let mut killed = 0;
    for point in 1.. {
        let mut command = place.command(&["secrets", "rotate-key"]);
        let status = command.env("MCRUN_CRASH_AT", point.to_string()).status().unwrap();
        if status.success() {
            break;
        }
        killed += 1;
        assert_eq!(status.code(), None, "it was killed at point {point}");
        is_used_as(&place, NEW);
        // Half of the time a secret is set before it goes on.
        if point % 2 == 0 {
            set(&place, &["rotate", "web/key"], NEW.as_bytes());
        }
        place.ends(0, &["secrets", "rotate-key"]);
        assert_eq!(listed(&place)["keys"], 1);
        is_used_as(&place, NEW);
    }
    assert!(killed > 5, "{killed} points are not many");
}

#[test]
fn a_disk_that_is_full_during_a_rotation_loses_nothing() {
    let place = place_with("");
    for moment in ["secrets:key-made@1", "secrets:resealed@1"] {
        let mut command = place.command(&["secrets", "rotate-key"]);
        command.env("MCRUN_FULL_AT", moment).env("MCRUN_FULL_BY", "/dev/full");
        let seen = Seen::of(command.output().unwrap());
        assert_eq!(seen.code, Some(1), "{moment}: {seen}");
        assert!(seen.stderr.contains("MC-J006"), "{moment}: {seen}");
        is_used_as(&place, OLD);
        assert_eq!(listed(&place)["keys"], 2);
        place.ends(0, &["secrets", "rotate-key"]);
        assert_eq!(listed(&place)["keys"], 1);
        is_used_as(&place, OLD);
    }
}

#[test]
fn secrets_leave_and_come_back_sealed() {
    // The key pair that the crate's own tests use: it guards nothing.
    const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
    let place = place_with("");
    set(&place, &["rotate", "web/key"], NEW.as_bytes());
    let (age, locked) = (place.at("by-key"), place.at("by-passphrase"));
    let (identity, passphrase) = (place.at("identity"), place.at("passphrase"));
    fs::write(&identity, format!("# mine\n{IDENTITY}\n")).unwrap();
    fs::write(&passphrase, "correct horse battery\n").unwrap();
    place.ends(0, &["secrets", "export", &age, "--to-age", RECIPIENT]);
    place.ends(0, &["secrets", "export", &locked, "--passphrase-file", &passphrase]);
    place.ends(1, &["secrets", "export", &place.at("x"), "--to-age", "age1nobody"]).says(&["MC-P016"]);
    for (file, opener) in [(&age, ["--identity", &identity]), (&locked, ["--passphrase-file", &passphrase])] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(file).unwrap();
        assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n") && !text.contains(NEW), "{text}");
        let elsewhere = Place::new();
        elsewhere.ends(0, &["secrets", "import", file, opener[0], opener[1]]);
        is_used_as(&elsewhere, NEW);
        let list = listed(&elsewhere);
        assert_eq!(list["secrets"][0]["latest"], 2);
        assert_eq!(list["secrets"][0]["to"], serde_json::json!(["exec:/usr/bin/dash", "containers:web"]));
        // What is here already is not overwritten unasked.
        set(&elsewhere, &["rotate", "web/key"], b"newer than that");
        let words = ["secrets", "import", file, opener[0], opener[1]];
        elsewhere.ends(1, &words).says(&["MC-P016", "here already"]);
        is_used_as(&elsewhere, "newer than that");
        elsewhere.ends(0, &[&words[..], &["--replace"]].concat());
        is_used_as(&elsewhere, NEW);
        // Cut, altered, or of another kind: nothing comes of it.
        let damaged = place.at("damaged");
        let middle = text.len() / 2;
        let letter = if text.as_bytes()[middle] == b'A' { "B" } else { "A" };
        let altered = format!("{}{letter}{}", &text[..middle], &text[middle + 1..]);
        for damage in [text[..middle].to_owned(), altered, "nothing".to_owned()] {
            fs::write(&damaged, damage).unwrap();
            let seen = elsewhere.ends(1, &["secrets", "import", &damaged, opener[0], opener[1], "--replace"]);
            assert!(seen.stderr.contains("MC-P016"), "{seen}");
        }
        assert_eq!(listed(&elsewhere)["secrets"][0]["latest"], 4);
    }
}

#[test]
fn two_that_set_at_once_both_count() {
    let place = place_with("");
    let values: Vec<String> = (0..8).map(|number| format!("value of number {number}")).collect();
    std::thread::scope(|scope| {
        for value in &values {
            let place = &place;
            scope.spawn(move || set(place, &["rotate", "web/key", "--keep", "20"], value.as_bytes()));
        }
    });
    assert_eq!(listed(&place)["secrets"][0]["latest"], 9);
    assert_eq!(used(&place).code, Some(0));
    assert!(values.contains(&place.read("got")));
}

#[test]
fn a_process_with_secrets_leaves_no_core() {
    use std::os::unix::process::ExitStatusExt as _;
    let place = place_with("");
    let text = "local key = secrets.get(\"web/key\")\nprint(\"has it\", key)\nsleep(\"10m\")\n";
    let script = place.script("wait.lua", text);
    let mut command = crate::harness::program("/bin/sh");
    // The system's own limit stays where it may not be raised: then there is no core either.
    command.args(["-c", "ulimit -c unlimited 2>/dev/null; exec \"$@\"", "sh"]);
    let inner = place.command(&[&script, "--allow", "*"]);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(place.path()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut host = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the run waits", || {
        place.runs().first().is_some_and(|run| run["state"] == "waiting").then_some(())
    });
    processes::signal(host.id(), Signal::ABORT);
    let status = host.wait().unwrap();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped(), "there would be a core");
}

#[test]
fn doctor_says_how_well_the_store_is_kept() {
    let place = Place::new();
    let said = |verdict: &str, text: &str| {
        let checks: Value = place.json(&["doctor", "--json"]);
        let found = checks.as_array().unwrap().iter().filter(|check| check["name"] == "sealed store");
        let found: Vec<_> = found.map(|check| (check["verdict"].clone(), check["what"].clone())).collect();
        let is_said =
            found.iter().any(|(found, what)| found == verdict && what.as_str().unwrap().contains(text));
        assert!(is_said, "{verdict} {text}: {found:?}");
    };
    said("good", "empty");
    set(&place, &["set", "web/key", "--generate", "20"], b"");
    said("missing", "no key is configured");
    let key = place.at("key");
    let with = |file: &str| {
        place.configure(&format!(
            "[drivers]\ncontainers = \"process\"\n[secrets_store]\nkey_file = \"{file}\"\n"
        ));
    };
    let written = |file: &str, mode: u32| {
        fs::write(file, [7; 32]).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    };
    written(&key, 0o600);
    with(&key);
    place.ends(0, &["secrets", "rewrap", "--from-state"]);
    said("good", "1 secret, sealed with a key file");
    written(&key, 0o640);
    said("bad", "can be read or changed by others");
    written(&key, 0o600);
    let beside = place.at("state/key");
    written(&beside, 0o600);
    with(&beside);
    said("missing", "lies in the folder of the database");
    with(&key);
    let mut command = place.command(&["secrets", "rotate-key"]);
    command.env("MCRUN_FULL_AT", "secrets:key-made@1").env("MCRUN_FULL_BY", "/dev/full");
    assert_eq!(Seen::of(command.output().unwrap()).code, Some(1));
    said("missing", "2 keys are there");
}
