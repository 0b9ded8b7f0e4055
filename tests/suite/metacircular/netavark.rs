//! A container whose network netavark made, and which its engine has lost: what it published leads to the one that is made
//! again, and to nothing else.

use std::path::Path;

use super::engine::Engine;
use super::standin;
use crate::harness::{Place, program, until, visit};

/// No other test has its bridge or its addresses.
const SETTINGS: &str = r#"[network]
network_backend = "netavark"
default_subnet = "10.97.31.0/24"
"#;

const DEPLOY: &str = r#"
local deploy = require("@std/deploy")
local route = { port = 8080 }
deploy.rollout(deploy.service {
    name = "web",
    image = "localhost/standin:v1",
    env = { STANDIN = "web", STANDIN_PORTS = "8080", STANDIN_DATA = "/tmp" },
    routes = { route },
    health = { tcp = true, within = "20s" },
})
"#;

/// The rules that lead somewhere from a port of the host.
fn rules(port: u64) -> Vec<String> {
    let output = program("iptables-save").args(["-t", "nat"]).output().expect("podman brings iptables");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of_port = format!("--dport {port} ");
    let leads = |line: &&str| line.contains(&of_port) && line.contains("--to-destination");
    text.lines().filter(leads).map(str::to_owned).collect()
}

#[test]
fn what_netavark_published_for_a_lost_container_is_taken_back() {
    let place = Place::new();
    let helpers = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers/netavark/usr/lib/podman");
    assert!(helpers.join("netavark").is_file(), "netavark is missing: tests/install.sh fetches it");
    let settings = format!(
        "helper_binaries_dir = [\"{}\"]\n{SETTINGS}network_config_dir = \"{}\"\n",
        helpers.display(),
        place.at("networks")
    );
    let mut engine = Engine::with(&place.path().join("engine"), &settings);
    standin::build_base(&engine, &place.path().join("images"));
    place.configure(&format!(
        "[drivers]\ncontainers = \"podman\"\n[drivers.podman]\nsocket = \"{}\"\n[policy]\nscripts = [\"*\"]\n",
        engine.socket()
    ));
    let script = place.script("deploy.lua", DEPLOY);
    place.ends(0, &[&script, "--allow", "*"]);
    let before = place.container("web").expect("it is deployed");
    let port = before["ports"][0]["host"].as_u64().expect("it publishes a port");
    until("it answers", || visit(port));
    assert_eq!(rules(port).len(), 1);

    engine.lose_database();
    let conf = place.at("engine/containers.conf");
    let recovered = place.start_with(&["recover"], &[("CONTAINERS_CONF", &conf)]).end();
    assert_eq!(recovered.code, Some(0), "{recovered}");
    until("it answers again", || visit(port));
    let rules = rules(port);
    assert_eq!(rules.len(), 1, "one leads to where nobody is: {rules:#?}");
}
