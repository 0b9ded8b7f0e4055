//! mcrun as a package, as a service that `mcrun setup` makes, and as a container: in machines that systemd runs, and as the
//! first process.

mod container;
mod machine;
mod setup;

use std::path::{Path, PathBuf};

use self::machine::{Machine, done, text};
use crate::harness::PROGRAM;

/// What the machine runs: a service that is there before and after everything that happens to the daemon.
const SERVICE: &str = r#"
containers.ensure { name = "hello", exec = { "/usr/bin/mcrun", "demo-server", "hello" }, env = { HTTP_PORT = "8088" } }
"#;
/// The edge answers for names, the daemon is watched closely.
const CONFIG: &str = "[drivers]\ncontainers = \"process\"\n[dns]\nlisten = [\"127.0.0.1:5353\"]\n\
    [daemon.api]\nsocket = \"/run/mcrun/api.sock\"\ngroup = \"mcrun\"\n";
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

/// The process that answers for names.
fn edge(machine: &Machine) -> String {
    let said = machine.ends(0, &["mcrun", "--state", "/var/lib/mcrun", "dns", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&said.text).expect("JSON");
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
    // Readable by root alone: journal and keys.
    assert_eq!(machine.ends(0, &["stat", "--format=%a %U", "/var/lib/mcrun"]).text, "700 root");
    assert_eq!(machine.ends(0, &["stat", "--format=%a %U %G", "/run/mcrun/api.sock"]).text, "660 root mcrun");

    // Names are wanted now, and a service.
    machine.write("/etc/mcrun/mcrun.toml", CONFIG);
    machine.ends(0, &["systemctl", "start", "mcrun-edge.service"]);
    machine.ends(0, &["systemctl", "restart", "mcrun.service"]);
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
    machine.until("systemd starts it again", |machine| {
        let now = machine.property("mcrun.service", "MainPID");
        let state = machine.property("mcrun.service", "ActiveState");
        (state == "active" && now != daemon && now != "0").then_some(())
    });
    assert!(machine.ends(0, &["journalctl", "--no-pager", "--unit=mcrun"]).text.contains("Watchdog timeout"));
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

/// The lines of a unit's section that say something.
fn settings(unit: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(deploy(&format!("systemd/{unit}"))).expect("the unit is there");
    let section =
        text.split("[Service]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("a section");
    let lines = section.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn the_nixos_module_is_read_and_says_what_the_units_say() {
    let module = deploy("nixos/module.nix");
    done(&["nix-instantiate", "--parse", &module]);
    let text = std::fs::read_to_string(&module).expect("the module is there");
    // What NixOS has its own way for: paths of programs, and folders.
    let own_way = [
        "ExecStart",
        "ExecReload",
        "StateDirectory",
        "StateDirectoryMode",
        "ConfigurationDirectory",
        "ConfigurationDirectoryMode",
        "SuccessExitStatus",
    ];
    for unit in ["mcrun.service", "mcrun-edge.service"] {
        for (key, _) in settings(unit) {
            assert!(own_way.contains(&key.as_str()) || text.contains(&format!(" {key} = ")), "{unit}: {key}");
        }
    }
}
