//! What a machine shows of processes: lists of them, engines of containers, and what is said when one of ours panics.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::search::{SECRET, search, search_seen, search_state};
use super::{place_with_sealed, place_with_secret};
use crate::harness::until;

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

#[test]
fn a_panic_with_a_secret_in_hand_says_nothing_of_it() {
    let text = "local key = secrets.get(\"web/key\")\nfiles.write { path = args[1] .. \"/x\", secret = key }\nprint(\"on\")\n";
    for (point, serves) in
        [("begin:before-commit@1", false), ("end:after-commit@1", false), ("begin:before-commit@1", true)]
    {
        let place = place_with_secret("http://127.0.0.1:1");
        let script = place.script("a.lua", text);
        let here = place.path().canonicalize().unwrap();
        let words = ["-v", "-v", "-v", &script, here.to_str().unwrap(), "--allow", "*"];
        let secret = place.at("secret");
        let panicking = |words: &[&str]| {
            let mut command = place.command(words);
            command.env("MCRUN_PANIC_AT", point).env("MCRUN_PANIC_WITH", &secret);
            command.env("RUST_BACKTRACE", "full");
            command
        };
        let seen = if serves {
            let mut daemon = place.spawn(panicking(&["-v", "-v", "-v", "serve"]));
            until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
            let client = place.start(&words);
            until("it has panicked", || daemon.stderr().contains("panicked").then_some(()));
            daemon.kill();
            search_seen(&client.end(), "a run of a daemon that panics");
            daemon.end()
        } else {
            place.spawn(panicking(&words)).end()
        };
        assert!(seen.stderr.contains("panicked at tests/probed.rs"), "{point}: {seen}");
        assert!(seen.stderr.contains("it could hold the value of a secret"), "{point}: {seen}");
        assert!(seen.stderr.contains("stack backtrace:") && seen.code != Some(0), "{point}: {seen}");
        search_seen(&seen, "a panic");
        search_state(&place);
        // Nothing is broken by it: whoever goes on finds a run that was cut.
        search_seen(&place.run(&["show", &place.newest_id(), "--json"]), "the run that was cut");
    }
}
