//! Recovery: twelve containers that their engine has lost, beside what the engine's own calls take for them.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::engine::{IMAGE, request};
use crate::lab::{Lab, Lost, at_once, free_port, wait_until};
use crate::whole::{command, timed};
use crate::{Row, median, millis, ratio};

const CONTAINERS: usize = 12;
/// So many of the platform's twelve are on the network of the host.
const ON_HOST: usize = 2;
const TIMES: usize = 3;
/// As many at a time as `@std/recover` goes about.
const RELEASED_AT_ONCE: usize = 12;
const MADE_AT_ONCE: usize = 1;
const ENTRY: &str = "trap 'exit 0' TERM; while :; do /bin/busybox sleep 3600 & wait $!; done";
/// How the network of a container is taken back where its engine has forgotten it.
const NETWORK: &str = "/etc/cni/net.d/87-podman-bridge.conflist";
const RESULTS: &str = "/var/lib/cni/results";
const PLUGINS: &str = "/usr/lib/cni";

/// One container, as both ways make it.
struct Made {
    name: String,
    volume: String,
    port: Option<u16>,
}

impl Made {
    fn new(lab: &Lab, number: usize) -> Self {
        let name = format!("bench-{number}");
        let volume = lab.volume(&name);
        Self { name, volume: volume.display().to_string(), port: (number > ON_HOST).then(free_port) }
    }

    fn lua(&self) -> String {
        let Self { name, volume, port } = self;
        let network = match port {
            Some(port) => format!(
                "network = \"bridge\", ports = {{ {{ host = {port}, container = 8080, address = \"127.0.0.1\" }} }}"
            ),
            None => "network = \"host\"".to_owned(),
        };
        format!(
            "{{ name = \"{name}\", service = \"{name}\", image = \"{IMAGE}\", cmd = {{ \"{ENTRY}\" }}, \
             volumes = {{ \"{volume}:/srv\" }}, restart = \"unless-stopped\", {network} }}"
        )
    }

    fn body(&self) -> String {
        let ports = self.port.map(|port| {
            json!({ "host_port": port, "container_port": 8080, "host_ip": "127.0.0.1", "protocol": "tcp" })
        });
        let mode = if self.port.is_some() { "bridge" } else { "host" };
        let mount = json!({
            "type": "bind", "source": self.volume, "destination": "/srv", "options": ["rbind", "rw"],
        });
        json!({
            "name": self.name, "image": IMAGE, "command": [ENTRY], "mounts": [mount], "netns": { "nsmode": mode },
            "portmappings": ports.into_iter().collect::<Vec<_>>(), "restart_policy": "unless-stopped",
        })
        .to_string()
    }
}

pub(crate) fn rows(program: &Path) -> Vec<Row> {
    if !crate::engine::podman(&["--version"]) {
        eprintln!("podman is not installed: the row on recovery is left out");
        return Vec::new();
    }
    let mut lab = Lab::new();
    let made: Vec<Made> = (1..=CONTAINERS).map(|number| Made::new(&lab, number)).collect();
    lab.deploy(program, &made.iter().map(Made::lua).collect::<Vec<_>>());
    let (mut own, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        lab.lose_database();
        own.push(timed(command(program, lab.path(), &[OsStr::new("recover")])));
        is_back(&lab);
        let lost = lab.lose_database();
        raw.push(by_the_engine(&lab, &lost, &made));
        is_back(&lab);
    }
    let (measured, baseline) = (median(own), median(raw));
    vec![Row {
        what: "recovery of 12 containers",
        measured: millis(measured),
        baseline: format!("the engine's own calls, as many at once {}", millis(baseline)),
        ratio: ratio(measured, baseline),
        promise: "≤ 1.3 × the engine's own time",
    }]
}

fn is_back(lab: &Lab) {
    assert_eq!(lab.podman(&["ps", "--quiet"]).lines().count(), CONTAINERS, "every container runs");
}

/// What nobody can do without: processes end, nothing is published or mounted any more, the storage goes, and containers are
/// made and started.
fn by_the_engine(lab: &Lab, lost: &[Lost], made: &[Made]) -> Duration {
    let started = Instant::now();
    let socket = lab.socket();
    at_once(RELEASED_AT_ONCE, lost, |lost| {
        let pid = lost.pid.parse().ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        wait_until(|| !Path::new("/proc").join(&lost.pid).exists());
        take_back_network(&lost.id);
        unmount(lab.folder(&lost.id).join("userdata/shm"), UnmountFlags::NOFOLLOW).unwrap();
        request(&socket, "DELETE", &format!("/v4.0.0/libpod/containers/{}?force=true", lost.id), "");
    });
    at_once(MADE_AT_ONCE, made, |made| {
        request(&socket, "POST", "/v4.0.0/libpod/containers/create", &made.body());
        request(&socket, "POST", &format!("/v4.0.0/libpod/containers/{}/start", made.name), "");
    });
    started.elapsed()
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// Has the plugins take back what they did for a container.
fn take_back_network(id: &str) {
    let result = Path::new(RESULTS).join(format!("podman-{id}-eth0"));
    let Some(kept) = read(&result) else { return };
    let network = read(Path::new(NETWORK)).unwrap();
    let interfaces = kept["result"]["interfaces"].as_array().unwrap();
    let space = interfaces.iter().find_map(|interface| interface["sandbox"].as_str()).unwrap();
    for plugin in network["plugins"].as_array().unwrap().iter().rev() {
        let mut input = plugin.clone();
        input["name"] = network["name"].clone();
        input["cniVersion"] = network["cniVersion"].clone();
        input["prevResult"] = kept["result"].clone();
        input["runtimeConfig"] = kept["capabilityArgs"].clone();
        let mut child = Command::new(Path::new(PLUGINS).join(plugin["type"].as_str().unwrap()))
            .env("CNI_COMMAND", "DEL")
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", space)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", PLUGINS)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "a plugin takes back what it did");
    }
    // The container's own end may have been faster.
    let _ = unmount(space, UnmountFlags::DETACH);
    let _ = std::fs::remove_file(space);
    let _ = std::fs::remove_file(result);
}
