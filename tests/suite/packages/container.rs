//! The container image, run as it is built: a stripped program, its libraries, and nothing else; and mcrun as the first
//! process of anything.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::machine::{Said, done, text};
use super::{deploy, settings};
use crate::harness::{PROGRAM, program, until};

const SERVICE: &str = r#"
containers.ensure { name = "hello", exec = { "/usr/bin/mcrun", "demo-server", "hello" }, env = { PORT = "8088" } }
containers.remove { name = "hello" }
"#;

/// An image, and a container of it.
struct Made {
    name: String,
}

impl Made {
    fn new(folder: &Path) -> Self {
        let unique = folder.file_name().and_then(|name| name.to_str()).expect("a plain name");
        let made = Self { name: format!("mcrun-image-{}", unique.trim_start_matches('.').to_lowercase()) };
        done(&["sh", &deploy("container/build.sh"), PROGRAM, text(folder)]);
        done(&["podman", "build", "--network=none", "--quiet", "--tag", &made.name, text(folder)]);
        made
    }

    fn exec(&self, words: &[&str]) -> String {
        done(&[&["podman", "exec", self.name.as_str(), "/usr/bin/mcrun"], words].concat())
    }

    fn inspect(&self, what: &str) -> String {
        done(&["podman", "inspect", "--format", what, &self.name])
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for words in [["rm", "--force", "--time=0"], ["rmi", "--force", "--ignore"]] {
            let mut command = program("podman");
            // Whatever is left of it; both know the same name.
            let _ = command.args(words).arg(&self.name).stdin(Stdio::null()).output();
        }
    }
}

/// The states of all processes that are children of `parent`.
fn children(parent: &str) -> Vec<String> {
    let said = program("ps").args(["-o", "stat=", "--ppid", parent]).output().expect("ps starts");
    String::from_utf8_lossy(&said.stdout).lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_image_serves_reaps_what_services_leave_and_stops_when_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scripts = folder.path().join("scripts");
    std::fs::create_dir_all(&scripts).expect("the folder is writable");
    std::fs::write(scripts.join("service.lua"), SERVICE).expect("the folder is writable");
    let made = Made::new(folder.path());
    let mount = format!("{}:/scripts:ro", text(&scripts));
    done(&["podman", "run", "--rm", "--network=none", &made.name, "doctor"]);
    done(&[
        "podman",
        "run",
        "--detach",
        "--network=none",
        "--volume",
        &mount,
        "--name",
        &made.name,
        &made.name,
    ]);
    let log = || done(&["sh", "-c", &format!("podman logs {} 2>&1", made.name)]);
    until("it serves", || log().contains("ready").then_some(()));

    // The service's supervisor is nobody's child once the command that started it has ended: the first process gets it.
    made.exec(&["/scripts/service.lua", "--allow", "containers", "--allow", "exec"]);
    let first = made.inspect("{{.State.Pid}}");
    until("nothing is left of the service", || {
        let states = children(&first);
        (states.len() == 1 && !states[0].starts_with('Z')).then_some(())
    });

    done(&["podman", "stop", "--time=60", &made.name]);
    assert_eq!(made.inspect("{{.State.ExitCode}}"), "0", "{}", log());
    assert!(log().contains("stopping"), "{}", log());
}

/// No group of the image.
const GROUP: u32 = 4242;
const QUADLET: &str = "quadlet/mcrun.container";

#[test]
fn as_the_quadlet_has_it_run_it_gives_signs_of_life_and_its_group_the_socket() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = Made::new(folder.path());
    for name in ["etc", "run", "state"] {
        std::fs::create_dir(folder.path().join(name)).expect("the folder is writable");
    }
    let config = format!("[daemon.api]\nsocket = \"/run/mcrun/api.sock\"\ngroup = \"{GROUP}\"\n");
    std::fs::write(folder.path().join("etc/mcrun.toml"), config).expect("the folder is writable");
    let notify = folder.path().join("notify");
    let manager = UnixDatagram::bind(&notify).expect("a short path");
    manager.set_read_timeout(Some(Duration::from_secs(60))).expect("it is more than none");

    let (container, service) = (settings(QUADLET, "Container"), settings(QUADLET, "Service"));
    let micros = service["WatchdogSec"].parse::<u64>().expect("seconds") * 1_000_000;
    assert_eq!(container["Environment"], format!("WATCHDOG_USEC={micros}"));
    assert_eq!((container["Notify"].as_str(), container["DropCapability"].as_str()), ("true", "ALL"));
    let name = &made.name;
    let mut line = format!(
        "NOTIFY_SOCKET={} exec podman run --detach --name {name} --network none --sdnotify container --read-only \
         --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --env {}",
        text(&notify),
        container["Environment"]
    );
    for capability in container["AddCapability"].split(' ') {
        line.push_str(&format!(" --cap-add {capability}"));
    }
    for (from, to) in [("etc", "/etc/mcrun:ro"), ("run", "/run/mcrun"), ("state", "/var/lib/mcrun")] {
        line.push_str(&format!(" --volume {}/{from}:{to}", text(folder.path())));
    }
    done(&["sh", "-c", &format!("{line} {name} serve")]);

    let mut buffer = [0; 1024];
    let mut heard = String::new();
    while !["READY=1", "WATCHDOG=1"].iter().all(|word| heard.lines().any(|line| line == *word)) {
        let length = manager.recv(&mut buffer).unwrap_or_else(|error| {
            panic!("{error}: {heard}\n{}", done(&["sh", "-c", &format!("podman logs {name} 2>&1")]))
        });
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        heard.push('\n');
    }
    let socket = std::fs::metadata(folder.path().join("run/api.sock")).expect("it is there once it is ready");
    assert_eq!((socket.gid(), socket.mode() & 0o777), (GROUP, 0o660));
}

/// Runs a line of shell as the first process of a namespace of processes.
fn first(line: &str) -> Said {
    let mut command = program("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--mount", "sh", "-c", line]).stdin(Stdio::null());
    Said::of(&command.output().expect("unshare starts"))
}

#[test]
fn the_first_process_ends_as_its_child_does() {
    let said = first(&format!("exec {PROGRAM} --version"));
    assert_eq!((said.code, said.text.starts_with("mcrun ")), (Some(0), true), "{said:?}");
    let said = first(&format!("exec {PROGRAM} --never-heard-of"));
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn a_first_process_that_cannot_start_itself_says_so() {
    let said = first(&format!("mount -t tmpfs none /proc; exec {PROGRAM} --version"));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.errors.contains("MC-M007"), "{said:?}");
}
