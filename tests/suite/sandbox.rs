//! The worker has nothing but its pipe, and a secret reaches only what it is for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::harness::{Place, Started, until};
use crate::processes;

const SECRET: &str = "correct-horse-battery-staple";

/// A host whose worker is there, and the worker.
fn with_worker(place: &Place, script: &str) -> (Started, u32) {
    let script = place.script("a.lua", script);
    let host =
        place.start_with(&[&script, "--allow", "*", "--limit", "exec=10m"], &[("MCRUN_TEST_CANARY", "1")]);
    until("the script runs", || host.shown().contains("here").then_some(()));
    let worker = processes::worker_of(host.pid()).expect("a host has a worker");
    (host, worker)
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in\n{status}")).trim()
}

#[test]
fn a_worker_is_confined_while_its_script_sleeps_and_spins() {
    for script in ["print(\"here\")\nsleep(\"1h\")\n", "print(\"here\")\nwhile true do end\n"] {
        let place = Place::new();
        let (_host, worker) = with_worker(&place, script);
        let process = |name: &str| format!("/proc/{worker}/{name}");
        let status = fs::read_to_string(process("status")).unwrap();
        assert_eq!((field(&status, "NoNewPrivs"), field(&status, "Seccomp")), ("1", "2"), "{script}");
        assert_eq!(field(&status, "Threads"), "1", "{script}");
        assert_eq!(fs::read(process("environ")).unwrap(), b"", "{script}");
        let mut descriptors: Vec<String> = fs::read_dir(process("fd"))
            .unwrap()
            .flatten()
            .map(|entry| fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        descriptors.sort();
        descriptors.dedup();
        let sockets = descriptors.iter().filter(|target| target.starts_with("socket:")).count();
        let others: Vec<&String> =
            descriptors.iter().filter(|target| !target.starts_with("socket:")).collect();
        assert!(
            sockets == 1 && others.iter().all(|target| *target == "/dev/null"),
            "{script}: {descriptors:?}"
        );
        let limits = fs::read_to_string(process("limits")).unwrap();
        for limit in ["Max core file size", "Max processes", "Max file size"] {
            let line = limits.lines().find(|line| line.starts_with(limit)).expect("the kernel lists it");
            assert!(!line[limit.len()..].trim_start().starts_with("unlimited"), "{script}: {line}");
        }
    }
}

#[test]
fn a_worker_dies_with_its_host() {
    let place = Place::new();
    let (mut host, worker) = with_worker(&place, "print(\"here\")\nwhile true do end\n");
    host.kill();
    until("the worker dies with its host", || {
        (!Path::new(&format!("/proc/{worker}")).exists()).then_some(())
    });
}

/// A place with one secret that may go to the container `web` and to the shell, but to no other program.
fn with_secret() -> Place {
    let place = Place::new();
    fs::write(place.at("secret"), format!("{SECRET}\n")).unwrap();
    fs::set_permissions(place.at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let to = "to = [\"containers:web\", \"exec:/usr/bin/dash\"]";
    place.configure(&format!(
        "[drivers]\ncontainers = \"process\"\n[secrets.\"web/key\"]\nfile = \"{}\"\n{to}\n",
        place.at("secret")
    ));
    place
}

/// Looks for the secret in everything that mcrun has stored.
fn check_nothing_stored(place: &Place, what: &str) {
    let mut folders = vec![place.state()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let bytes = fs::read(&path).unwrap_or_default();
                let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
                assert!(!found, "{what}: the secret is in {}", path.display());
            }
        }
    }
}

#[test]
fn a_secret_goes_nowhere_else() {
    let place = with_secret();
    for attempt in [
        "print(key)",
        "print(`{key}`)",
        "print(tostring(key))",
        "print(#key)",
        "log.info(\"key\", { key = key })",
        "progress(key)",
        "error(key)",
        "error({ code = \"X\", message = key })",
        "fail(key)",
        "fail(\"x\" .. key)",
        "exec.run { argv = { \"/bin/echo\", key } }",
        "exec.run { argv = { \"/bin/echo\" }, env = { KEY = key } }",
        "exec.run { argv = { \"/bin/cat\" }, stdin = key }",
        "exec.query { argv = { \"/bin/echo\", key } }",
        "files.write { path = \"out\", content = key }",
        "files.write { path = \"out\", content = \"x\" .. key }",
        "files.write { path = \"out\", secret = key }",
        "files.template { path = \"out\", template = \"{{ key }}\", values = { key = key } }",
        "files.template { path = \"out\", template = \"{{ key }}\", secrets = { key = key } }",
        "http.get { url = \"http://127.0.0.1:1/\" .. key }",
        "http.get { url = \"http://127.0.0.1:1/\", secret_headers = { authorization = key } }",
        "http.request { url = \"http://127.0.0.1:1/\", headers = { authorization = key } }",
        "http.request { url = \"http://127.0.0.1:1/\", json = { key = key } }",
        "containers.ensure { name = \"web\", exec = { \"/bin/echo\", key } }",
        "containers.ensure { name = \"web\", exec = { \"/bin/true\" }, env = { KEY = key } }",
        "containers.ensure { name = \"other\", exec = { \"/bin/true\" }, secrets = { KEY = key } }",
        "registry.put { service = \"web\", spec = { key = key } }",
        "secrets.get(key)",
    ] {
        let script = place.script("a.lua", &format!("local key = secrets.get(\"web/key\")\n{attempt}\n"));
        let seen = place.run(&[&script, "--allow", "*"]);
        // Showing or recording it is no mistake: that is done with its name.
        let shows = ["print(key)", "log.info", "progress", "registry.put"]
            .iter()
            .any(|start| attempt.starts_with(start));
        assert!(shows || matches!(seen.code, Some(1 | 4)), "`{attempt}` is refused: {seen}");
        assert!(
            !seen.stdout.contains(SECRET) && !seen.stderr.contains(SECRET),
            "`{attempt}` shows it: {seen}"
        );
        assert!(!place.read("scripts/out").contains(SECRET), "`{attempt}` writes it");
        check_nothing_stored(&place, attempt);
    }
}

#[test]
fn a_secret_that_a_program_prints_is_masked() {
    let place = with_secret();
    let script = place.script(
        "a.lua",
        "local key = secrets.get(\"web/key\")\n\
         local out = exec.run { argv = { \"/bin/sh\", \"-c\", \"cat $KEY_FILE; cat $KEY_FILE >&2\" }, secrets = { KEY = key } }\n\
         print(\"printed\", out.stdout, out.stderr)\n\
         log.info(out.stdout, { text = out.stderr })\n\
         error(out.stdout)\n",
    );
    let seen = place.ends(1, &[&script, "--allow", "*"]);
    assert!(seen.stdout.contains("printed"), "{seen}");
    assert!(!seen.stdout.contains(SECRET) && !seen.stderr.contains(SECRET), "{seen}");
    check_nothing_stored(&place, "exec.run");
}

#[test]
fn a_service_reads_its_secret_from_memory() {
    let place = with_secret();
    let text = format!("cat $KEY_FILE > {}; exec sleep 600", place.at("got"));
    let script = place.script(
        "a.lua",
        &format!(
            "local key = secrets.get(\"web/key\")\n\
             containers.ensure {{ name = \"web\", exec = {{ \"/bin/sh\", \"-c\", \"{text}\" }}, secrets = {{ KEY = key }} }}\n"
        ),
    );
    place.ends(0, &[&script, "--allow", "*"]);
    until("the service has read it", || (place.read("got").trim_end() == SECRET).then_some(()));
    check_nothing_stored(&place, "containers.ensure");
    let shown = [place.run(&["ps", "--json"]), place.run(&["show", &place.newest_id(), "--json"])];
    assert!(shown.iter().all(|seen| !seen.stdout.contains(SECRET)));
    place.ends(0, &[&script, "--allow", "*"]).says(&[" 0 changed"]);
}
