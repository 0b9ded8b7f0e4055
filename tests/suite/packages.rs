//! mcrun as a package, as a service that `mcrun setup` makes, and as a container: in machines that systemd runs, and as the
//! first process.

mod container;
mod machine;
mod setup;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::machine::{Machine, done, text};
use crate::harness::PROGRAM;

/// What the machine runs: a service that is there before and after everything that happens to the daemon.
const SERVICE: &str = r#"
containers.ensure { name = "hello", exec = { "/usr/bin/mcrun", "demo-server", "hello" }, env = { PORT = "8088" } }
"#;
/// The edge answers for names, and requests would be logged where the documentation says; the daemon is watched closely.
const CONFIG: &str = "[drivers]\ncontainers = \"process\"\n[dns]\nlisten = [\"127.0.0.1:5353\"]\n\
    [routes]\naddresses = [\"127.0.0.1\"]\naccess_log = { file = \"/var/log/mcrun/access.log\" }\n\
    [daemon.api]\nsocket = \"/run/mcrun/api.sock\"\ngroup = \"mcrun\"\n";
/// A daemon that was killed more often than this within minutes was never started again.
const MANY: usize = 7;
const WATCHED: &str = "[Service]\nWatchdogSec=5\n";
const UNITS: [&str; 3] = ["mcrun.service", "mcrun.socket", "mcrun-edge.service"];

fn deploy(path: &str) -> String {
    format!("{}/../deploy/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Builds the package in this version.
fn package(folder: &Path, version: &str) -> PathBuf {
    let build = format!(
        "MCRUN_PACKAGE_COMPRESSION=none MCRUN_PACKAGE_VERSION={version} exec {} {PROGRAM} {} {}",
        deploy("debian/build.sh"),
        env!("CARGO_BIN_EXE_mcrun-check-probed"),
        text(folder)
    );
    PathBuf::from(done(&["sh", "-c", &build]).lines().last().expect("it prints its path"))
}

/// The process of the service: the same one as long as nothing ends it.
fn worker(machine: &Machine) -> String {
    machine.ends(0, &["pgrep", "--full", "--exact", "/usr/bin/mcrun demo-server hello"]).text
}

/// Waits until systemd has started the daemon again, which was the process `before`.
fn comes_back(machine: &Machine, before: &str) {
    machine.until("systemd starts it again", |machine| {
        let now = machine.property("mcrun.service", "MainPID");
        let state = machine.property("mcrun.service", "ActiveState");
        (state == "active" && now != before && now != "0").then_some(())
    });
}

/// The process that answers for names.
fn edge(machine: &Machine) -> String {
    let said = machine.ends(0, &["mcrun", "--state", "/var/lib/mcrun", "dns", "status", "--json"]);
    let status: Value = serde_json::from_str(&said.text).expect("JSON");
    status["process"].to_string()
}

#[test]
fn a_package_comes_is_upgraded_and_goes_while_services_and_the_edge_go_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let machine = Machine::boot();
    machine.put(&package(folder.path(), "0.1.0"), "/root/first.deb");
    machine.put(&package(folder.path(), "0.1.1"), "/root/second.deb");
    machine.write("/etc/systemd/system/mcrun.service.d/watched.conf", WATCHED);

    machine.ends(0, &["dpkg", "--install", "/root/first.deb"]);
    machine.active("mcrun.service");
    for unit in UNITS {
        machine.ends(0, &["systemctl", "is-enabled", unit]);
    }
    machine.ends(0, &["mcrun", "--state", "/var/lib/mcrun", "doctor"]);
    machine.ends(0, &["getent", "group", "mcrun"]);
    machine.ends(0, &["test", "-f", "/usr/share/doc/mcrun/mcrun.toml"]);
    // Readable by root alone: journal and keys.
    assert_eq!(machine.ends(0, &["stat", "--format=%a %U", "/var/lib/mcrun"]).text, "700 root");
    assert_eq!(machine.ends(0, &["stat", "--format=%a %U %G", "/run/mcrun/api.sock"]).text, "660 root mcrun");

    // Names are wanted now, and a service.
    machine.write("/etc/mcrun/mcrun.toml", CONFIG);
    machine.ends(0, &["systemctl", "start", "mcrun-edge.service"]);
    machine.ends(0, &["systemctl", "restart", "mcrun.service"]);
    machine.until("the edge has its log of requests", |machine| {
        machine.at("/var/log/mcrun/access.log").exists().then_some(())
    });
    machine.write("/root/service.lua", SERVICE);
    let words = [
        "mcrun",
        "--state",
        "/var/lib/mcrun",
        "/root/service.lua",
        "--allow",
        "containers",
        "--allow",
        "exec",
    ];
    machine.ends(0, &words);
    let (service, names) = (worker(&machine), edge(&machine));

    // One that does not answer is started again. What it was asked to look after does not notice.
    let daemon = machine.active("mcrun.service");
    machine.ends(0, &["kill", "-STOP", &daemon]);
    comes_back(&machine, &daemon);
    assert!(machine.ends(0, &["journalctl", "--no-pager", "--unit=mcrun"]).text.contains("Watchdog timeout"));
    assert_eq!((worker(&machine), edge(&machine)), (service.clone(), names.clone()));

    // Killed again and again, it comes back each time.
    for _ in 0..MANY {
        let daemon = machine.active("mcrun.service");
        machine.ends(0, &["kill", "-KILL", &daemon]);
        comes_back(&machine, &daemon);
    }

    // What is wrong with its configuration is an error in the journal, under its code.
    machine.write("/etc/mcrun/mcrun.toml", "[nonsense]\n");
    machine.run(&["systemctl", "restart", "mcrun.service"]);
    machine.until("the journal tells why it ended", |machine| {
        let words = ["journalctl", "--no-pager", "--priority=err", "MCRUN_CODE=MC-U002"];
        machine.run(&words).text.contains("nonsense").then_some(())
    });
    machine.write("/etc/mcrun/mcrun.toml", CONFIG);
    machine.ends(0, &["systemctl", "restart", "mcrun.service"]);
    assert_eq!((worker(&machine), edge(&machine)), (service.clone(), names.clone()));

    // An upgrade starts the new daemon, and nothing else.
    let daemon = machine.active("mcrun.service");
    machine.ends(0, &["dpkg", "--install", "--force-confold", "/root/second.deb"]);
    assert_ne!(machine.active("mcrun.service"), daemon);
    assert_eq!((worker(&machine), edge(&machine)), (service.clone(), names));
    let said = machine.ends(0, &["journalctl", "--no-pager", "--unit=mcrun", "--lines=200"]).text;
    assert!(said.contains("mcrun["), "the daemon's own words are in the journal: {said}");

    // A removal keeps what was deployed, and what is known of it.
    machine.ends(0, &["dpkg", "--remove", "mcrun"]);
    for unit in UNITS {
        assert_ne!(machine.property(unit, "ActiveState"), "active", "{unit}");
    }
    assert_eq!(worker(&machine), service);
    assert_eq!(machine.run(&["pgrep", "--full", "mcrun.* edge"]).text, "", "the edge goes with the package");
    assert!(machine.at("/var/lib/mcrun/journal.db").exists() && machine.at("/etc/mcrun/mcrun.toml").exists());

    // What a removal masked comes back whole.
    machine.ends(0, &["dpkg", "--install", "--force-confold", "/root/first.deb"]);
    machine.active("mcrun.service");
    for unit in UNITS {
        assert_eq!(machine.ends(0, &["systemctl", "is-enabled", unit]).text, "enabled");
    }
    machine.active("mcrun-edge.service");
    let known = machine.ends(0, &["mcrun", "--state", "/var/lib/mcrun", "ps", "--json"]).text;
    assert!(known.contains("\"hello\""), "{known}");
    assert_eq!(worker(&machine), service);

    // A purge leaves nothing but the group and what is not mcrun's to end.
    machine.ends(0, &["dpkg", "--purge", "mcrun"]);
    assert_eq!(worker(&machine), service);
    let left = machine.ends(0, &["find", "/", "-xdev", "-name", "*mcrun*", "-not", "-path", "/proc/*"]).text;
    assert_eq!(left, "", "left behind");
}

/// What a section of a file says: a key that stands there several times has all its values.
fn settings(file: &str, section: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(deploy(file)).expect("the file is there");
    let lines = text.lines().skip_while(|line| *line != format!("[{section}]")).skip(1);
    let mut settings = BTreeMap::<String, String>::new();
    for line in lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let said = settings.entry(key.to_owned()).or_default();
        if !said.is_empty() {
            said.push(' ');
        }
        said.push_str(value);
    }
    assert!(!settings.is_empty(), "{file}: [{section}]");
    settings
}

/// A value of NixOS as systemd has it.
fn worded(value: &Value) -> String {
    match value {
        Value::Bool(is_on) => if *is_on { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(worded).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[test]
fn the_nixos_module_says_what_the_units_say() {
    let evaluate = concat!(env!("CARGO_MANIFEST_DIR"), "/suite/packages/evaluate.nix");
    let module = deploy("nixos/module.nix");
    let words = ["nix-instantiate", "--eval", "--strict", "--json", "--arg", "module", &module, evaluate];
    let made: Value = serde_json::from_str(&done(&words)).expect("JSON");
    // What NixOS has its own way for: paths of programs, and the state directory, which may be anywhere.
    let own_way = ["ExecStart", "ExecReload", "StateDirectory", "StateDirectoryMode"];
    for unit in ["mcrun", "mcrun-edge"] {
        let (file, service) = (format!("systemd/{unit}.service"), &made["systemd"]["services"][unit]);
        for (key, value) in settings(&file, "Service") {
            if !own_way.contains(&key.as_str()) {
                assert_eq!(worded(&service["serviceConfig"][&key]), value, "{unit}: {key}");
            }
        }
        let limit = settings(&file, "Unit")["StartLimitIntervalSec"].clone();
        assert_eq!(worded(&service["startLimitIntervalSec"]), limit, "{unit}");
    }
    // The command line and the group find the socket that systemd listens at.
    assert_eq!(made["environment"]["etc"]["mcrun/mcrun.toml"]["source"], "/generated/mcrun.toml");
    let socket = &made["systemd"]["sockets"]["mcrun"];
    let api = &made["services"]["mcrun"]["settings"]["daemon"]["api"];
    assert_eq!((&api["socket"], &api["group"]), (&socket["listenStreams"][0], &"operators".into()));
    assert_eq!(socket["socketConfig"]["SocketGroup"], "operators");
}
