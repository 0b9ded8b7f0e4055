//! `mcrun setup`: what it refuses, what it does on a machine that systemd runs, and that it can be taken back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use super::machine::{Machine, Said, text};
use crate::harness::{PROGRAM, program};

const PLACE: &str = "/usr/local/bin/mcrun";
/// A configuration that is there before; systemd may listen at this socket.
const CONFIG: &str = "[node]\nname = \"rift\"\n[dns]\nlisten = [\"127.0.0.1:5353\"]\n\
    [daemon.api]\nsocket = \"/run/mcrun/api.sock\"\n";
const STATE: &str = "/var/lib/mcrun";

/// Runs `setup` on this machine, whose files it must not change.
fn refused(before: &str, words: &str) -> String {
    let line = format!("{before}; exec {PROGRAM} {words}");
    let mut command = program("unshare");
    command
        .args(["--mount", "sh", "-c", &line])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null());
    let output = command.output().expect("unshare starts");
    assert!(!output.status.success(), "{line} went through");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn setup_says_what_it_lacks_before_it_changes_anything() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = folder.path().join("open");
    fs::create_dir_all(open.join("bin")).expect("the folder is writable");
    fs::copy(PROGRAM, open.join("bin/mcrun")).expect("the folder is writable");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("the folder is ours");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    let open = text(&open);

    let said =
        refused(&format!("exec setpriv --reuid=65534 --clear-groups {open}/bin/mcrun setup --plan"), "");
    assert!(said.contains("MC-M001"), "{said}");
    let said = refused("mount -t tmpfs none /run", "setup --plan");
    assert!(said.contains("MC-M002"), "{said}");
    let said = refused("true", &format!("setup --no-start --plan --prefix {open}"));
    assert!(said.contains("MC-M003") && said.contains("others than root can change"), "{said}");
    let said = refused("true", "setup --no-start --plan --prefix /nowhere");
    assert!(said.contains("MC-M003") && said.contains("there is no program"), "{said}");
    let said = refused("true", "--state '/var/lib/my state' setup --no-start --plan");
    assert!(said.contains("MC-M006"), "{said}");
    assert!(!Path::new("/etc/systemd/system/mcrun.service").exists());
}

fn setup(machine: &Machine, code: i32, words: &[&str]) -> Said {
    machine.ends(code, &[&[PLACE, "setup"], words].concat())
}

#[test]
fn a_machine_is_set_up_once_and_taken_back() {
    let machine = Machine::boot();
    machine.put(Path::new(PROGRAM), PLACE);
    let ours =
        ["/etc/systemd/system/mcrun.service", "/etc/mcrun/mcrun.toml", "/etc/sysusers.d/mcrun.conf", STATE];

    // A plan leaves nothing behind.
    let plan = setup(&machine, 0, &["--plan"]);
    for words in [
        "files.write /etc/systemd/system/mcrun.service",
        "files.write /etc/mcrun/mcrun.toml",
        "systemctl start mcrun.service",
    ] {
        assert!(plan.text.contains(words), "{words}: {}", plan.text);
    }
    for path in ours {
        assert!(!machine.at(path).exists(), "{path}");
    }

    // What lies there already is somebody's.
    machine.write("/etc/systemd/system/mcrun.socket", "[Socket]\nListenStream=/run/other.sock\n");
    assert!(setup(&machine, 1, &["--yes"]).errors.contains("MC-M004"));
    machine.ends(0, &["rm", "/etc/systemd/system/mcrun.socket"]);
    machine.write("/etc/mcrun/mcrun.toml", CONFIG);
    machine.ends(0, &["chmod", "0700", "/etc/mcrun"]);

    // What a run has left that did not get beyond the files, and one that was not to start anything.
    setup(&machine, 0, &["--yes", "--no-start"]);
    machine.ends(0, &[&["systemctl", "disable"], &super::UNITS[..]].concat());
    let said = setup(&machine, 0, &["--yes"]);
    let back = "`systemctl disable --now mcrun.socket mcrun-edge.service mcrun.service mcrun-boot.service`, then `mcrun --state";
    assert!(said.errors.contains(back), "{}", said.errors);
    for unit in super::UNITS {
        machine.active(unit);
    }
    let daemon = machine.active("mcrun.service");
    for unit in super::UNITS {
        assert_eq!(machine.ends(0, &["systemctl", "is-enabled", unit]).text, "enabled");
    }
    machine.ends(0, &[PLACE, "--state", STATE, "doctor"]);
    assert_eq!(fs::read_to_string(machine.at("/etc/mcrun/mcrun.toml")).expect("it is there"), CONFIG);
    assert_eq!(machine.ends(0, &["stat", "--format=%a", "/etc/mcrun"]).text, "700");

    // Units that systemd takes without a word, and what it thinks of them.
    let verified =
        machine.ends(0, &[&["systemd-analyze", "verify", "mcrun-boot.service"], &super::UNITS[..]].concat());
    // Those that systemd knows from 254 on; an older one leaves them out and says so.
    let newer = ["'RestartSteps'", "'RestartMaxDelaySec'"];
    let known = |line: &&str| !newer.iter().any(|key| line.contains(key));
    let errors: Vec<&str> = verified.errors.lines().filter(known).collect();
    assert!(errors.is_empty(), "systemd-analyze verify: {errors:#?}");
    let edge = machine
        .ends(0, &["systemd-analyze", "security", "--no-pager", "--threshold=45", "mcrun-edge.service"]);
    assert!(edge.text.contains("Overall exposure level"), "{}", edge.text);

    // Again: nothing is left to do, and nothing is started anew.
    let again = setup(&machine, 0, &["--yes"]);
    assert!(again.errors.contains("0 changed"), "{}", again.errors);
    assert_eq!(machine.active("mcrun.service"), daemon);

    // One that was cut between a unit and systemd's reading it: the next makes up for it, and ends nothing else.
    machine.ends(0, &["touch", "/etc/systemd/system/mcrun.service"]);
    assert_eq!(machine.property("mcrun.service", "NeedDaemonReload"), "yes");
    let edge = machine.active("mcrun-edge.service");
    setup(&machine, 0, &["--yes"]);
    assert_eq!(machine.property("mcrun.service", "NeedDaemonReload"), "no");
    assert_ne!(machine.active("mcrun.service"), daemon);
    assert_eq!(machine.active("mcrun-edge.service"), edge);

    // Taken back by the run that did it: the daemon is stopped first, since nobody runs without a unit.
    let runs = machine.ends(0, &[PLACE, "--state", STATE, "runs", "--json"]).text;
    let runs: serde_json::Value = serde_json::from_str(&runs).expect("JSON");
    let first = runs
        .as_array()
        .and_then(|runs| runs.iter().rfind(|run| run["state"] == "done"))
        .expect("the first setup");
    machine.ends(0, &[&["systemctl", "disable", "--now", "mcrun-boot.service"], &super::UNITS[..]].concat());
    machine.ends(0, &[PLACE, "--state", STATE, "--yes", "undo", first["id"].as_str().expect("an id")]);
    for path in [
        "/etc/systemd/system/mcrun.service",
        "/etc/systemd/system/mcrun.socket",
        "/etc/sysusers.d/mcrun.conf",
    ] {
        assert!(!machine.at(path).exists(), "{path}");
    }
    assert_eq!(fs::read_to_string(machine.at("/etc/mcrun/mcrun.toml")).expect("it is there"), CONFIG);
}

#[test]
fn a_daemon_that_is_not_root_has_a_user_and_a_state_directory_of_its_own() {
    let machine = Machine::boot();
    machine.put(Path::new(PROGRAM), "/opt/mcrun/bin/mcrun");
    let place = "/opt/mcrun/bin/mcrun";
    machine.write("/etc/mcrun/mcrun.toml", CONFIG);
    // Where the user was before: what it has put there must not become its own elsewhere.
    machine.ends(0, &["mkdir", "--mode=0700", "/srv/mcrun"]);
    machine.write("/etc/kept", "root's alone");
    machine.ends(0, &["ln", "/etc/kept", "/srv/mcrun/kept"]);
    machine.ends(0, &["ln", "--symbolic", "/etc", "/srv/mcrun/link"]);
    machine.ends(
        0,
        &[place, "--state", "/srv/mcrun", "setup", "--user", "operator", "--prefix", "/opt/mcrun", "--yes"],
    );
    let daemon = machine.active("mcrun.service");
    assert_eq!(machine.ends(0, &["ps", "-o", "user=", "-p", &daemon]).text, "operator");
    let foreign = machine.ends(0, &["find", "/srv/mcrun", "-not", "-user", "operator"]).text;
    assert_eq!(foreign, "/srv/mcrun/kept", "not the daemon's own");
    assert_eq!(machine.ends(0, &["stat", "--format=%U", "/etc", "/etc/kept"]).text, "root\nroot");
    let edge = machine.active("mcrun-edge.service");
    assert_eq!(machine.ends(0, &["ps", "-o", "user=", "-p", &edge]).text, "operator");
    assert_eq!(machine.ends(0, &["stat", "--format=%a", "/srv/mcrun"]).text, "700");
    // A package would bring units of its own.
    machine.write("/lib/systemd/system/mcrun.service", "[Service]\nExecStart=/usr/bin/mcrun serve\n");
    let said = machine.ends(1, &[place, "--state", "/srv/mcrun", "setup", "--plan"]);
    assert!(said.errors.contains("MC-M005"), "{}", said.errors);
}
