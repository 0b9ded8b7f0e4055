//! Owns what the network of a container leaves behind when its engine has forgotten it: addresses, rules of the firewall, a
//! name space. A reboot takes all this; the engine takes it only for containers that it knows.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::mount::{UnmountFlags, unmount};
use serde_json::Value;

use crate::harness::program;

const NETWORKS: &str = "/etc/cni/net.d";
const RESULTS: &str = "/var/lib/cni/results";
const PLUGINS: &str = "/usr/lib/cni";

/// Takes away what the network of container `id` has left. What is gone already is fine.
pub(super) fn forget(id: &str) {
    let result = Path::new(RESULTS).join(format!("podman-{id}-eth0"));
    let Some(known) = read(&result) else { return };
    let interfaces = known["result"]["interfaces"].as_array().cloned().unwrap_or_default();
    let space = interfaces.iter().find_map(|interface| interface["sandbox"].as_str()).unwrap_or_default();
    for network in networks().iter().filter(|network| network["name"] == "podman") {
        let plugins = network["plugins"].as_array().cloned().unwrap_or_default();
        for mut plugin in plugins.into_iter().rev() {
            plugin["name"] = network["name"].clone();
            plugin["cniVersion"] = network["cniVersion"].clone();
            plugin["prevResult"] = known["result"].clone();
            plugin["runtimeConfig"] = known["capabilityArgs"].clone();
            delete(id, space, &plugin);
        }
    }
    // Nothing in here may fail a test.
    let _ = unmount(space, UnmountFlags::DETACH);
    let _ = fs::remove_file(space);
    let _ = fs::remove_file(result);
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

fn networks() -> Vec<Value> {
    let files = fs::read_dir(NETWORKS).into_iter().flatten().flatten();
    files.filter_map(|file| read(&file.path())).collect()
}

/// Has a plugin take back what it did for a container.
fn delete(id: &str, space: &str, plugin: &Value) {
    let path = PathBuf::from(PLUGINS).join(plugin["type"].as_str().unwrap_or_default());
    let started = program(path)
        .env("CNI_COMMAND", "DEL")
        .env("CNI_CONTAINERID", id)
        .env("CNI_NETNS", space)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", PLUGINS)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut started) = started else { return };
    if let Some(mut input) = started.stdin.take() {
        let _ = input.write_all(plugin.to_string().as_bytes());
    }
    let _ = started.wait();
}
