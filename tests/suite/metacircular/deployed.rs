//! Every container of the platform runs as recorded, and goes without a trace but its volume.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::platform::{Platform, WRITERS, ZONE};
use super::record::{At, CONTAINERS};
use crate::harness::until;
use crate::names::ask;
use crate::plan_equals_apply::compare;

/// What answers an HTTP request.
pub(super) fn visit(at: SocketAddr, path: &str) -> Option<String> {
    let mut connection = TcpStream::connect_timeout(&at, Duration::from_secs(5)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(connection, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned())
}

fn list(platform: &Platform, words: &[&str]) -> Vec<Value> {
    platform.json(words).as_array().expect("a list").clone()
}

/// `HOSTNAME:PORT -> BACKENDS` of every route.
fn routes(platform: &Platform) -> Vec<String> {
    let shown = |route: &Value| {
        let backends: Vec<&str> =
            route["backends"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let name = route["hostname"].as_str().expect("a name");
        format!("{name}:{} -> {}", route["listen"], backends.join(" "))
    };
    let mut routes: Vec<String> = list(platform, &["routes", "list", "--json"]).iter().map(shown).collect();
    routes.sort();
    routes
}

/// What the record has of ingress and public routes.
fn recorded_routes(platform: &Platform) -> Vec<String> {
    let inside = [
        ("metacrypt", 443, 18080),
        ("mcr", 443, 28080),
        ("mcdoc", 443, 38080),
        ("mcat", 443, 48116),
        ("kls", 443, 58080),
        ("mcq", 443, 48080),
        ("metacrypt", 8443, 18443),
        ("mcr", 8443, 28443),
        ("metacrypt", 9443, 19443),
        ("mcr", 9443, 29443),
        ("sgardd", 9443, 19473),
    ];
    let public = [("kls", 58080), ("mcq", 48080), ("docs", 38080), ("metacrypt", 18080)];
    let git = platform.published(At::Loopback, 3000);
    let inside = inside.map(|(name, listen, port)| {
        format!("{name}.{ZONE}:{listen} -> {}", platform.published(At::Loopback, port))
    });
    let public = public.map(|(name, port)| {
        format!("{name}.metacircular.net:443 -> {}", platform.published(At::Overlay, port))
    });
    let git = ["git.metacircular.net", "git.wntrmute.dev"].map(|name| format!("{name}:443 -> {git}"));
    let mut all: Vec<String> = inside.into_iter().chain(public).chain(git).collect();
    all.sort();
    all
}

#[test]
fn the_platform_runs_as_recorded_and_goes_without_a_trace() {
    let platform = Platform::new();
    let words = platform.words("deploy.lua");
    compare(&platform, "deploy", &words.iter().map(String::as_str).collect::<Vec<_>>(), true);
    platform.is_as_recorded();
    assert_eq!(routes(&platform), recorded_routes(&platform));

    for container in &CONTAINERS {
        for &(at, host, _, protocol) in container.ports.iter().filter(|port| port.3 == "tcp") {
            let at = platform.published(at, host);
            let name = container.image.split(':').next().expect("a name");
            assert_eq!(visit(at, "/").as_deref(), Some(name), "{} at {at}/{protocol}", container.name);
        }
    }
    let resolved = ask::udp(platform.names(), &format!("mcq.{ZONE}"), ask::A).expect("names are answered");
    assert_eq!(resolved.addresses(), [platform.ip(At::Overlay)]);

    // A second deploy leaves every process alone.
    let lives = || CONTAINERS.each_ref().map(|of| platform.inspected(of.name)["State"]["Pid"].clone());
    let before = lives();
    platform.deploy();
    assert_eq!(lives(), before);
    for service in WRITERS {
        platform.writes_on(service, platform.records(service).len());
        assert_eq!(platform.is_continuous(service, &[]), 1);
    }

    let written = WRITERS.map(|service| platform.records(service));
    platform.undeploy();
    assert_eq!(platform.engine.podman(&["ps", "--all", "--quiet"]), "");
    assert_eq!(platform.engine.monitored(), []);
    for what in [&["routes", "list", "--json"][..], &["certs", "list", "--json"], &["status", "--json"]] {
        assert_eq!(list(&platform, what), Vec::<Value>::new(), "{what:?}");
    }
    let records = list(&platform, &["records", "list", ZONE, "--json"]);
    assert_eq!(records.iter().filter(|record| record["name"] != "@").count(), 0);
    for (service, written) in WRITERS.into_iter().zip(written) {
        assert_eq!(platform.is_continuous(service, &written), 1);
    }
}

#[test]
fn public_names_behind_which_nothing_answers_are_told_of() {
    let platform = Platform::new();
    let seen = platform.deploy();
    for name in ["docs", "metacrypt"] {
        seen.says(&[&format!("{name}.metacircular.net: nothing answers")]);
    }
    for name in ["mcq", "kls"] {
        assert!(!seen.stderr.contains(&format!("{name}.metacircular.net: nothing answers")), "{seen}");
    }
    // What the record lacks is a line of the inventory.
    let text = std::fs::read_to_string(platform.inventory()).expect("it was written");
    let text = text.replace("overlay = false", "overlay = true");
    std::fs::write(platform.inventory(), text).expect("the place is writable");
    let seen = platform.deploy();
    for (name, port) in [("docs", 38080), ("metacrypt", 18080)] {
        assert!(!seen.stderr.contains(&format!("{name}.metacircular.net: nothing answers")), "{seen}");
        until("it answers", || visit(platform.published(At::Overlay, port), "/"));
    }
}

#[test]
fn a_deploy_that_is_killed_goes_on_and_starts_no_second_writer() {
    let platform = Platform::new();
    let words = platform.words("deploy.lua");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut started = platform.start(&words);
    until("half of it runs", || {
        let names = platform.engine.podman(&["ps", "--format", "{{.Names}}"]);
        (names.lines().count() >= 6).then_some(())
    });
    started.kill();
    let run = platform.newest_id();
    platform.ends(0, &["resume", &run]);
    platform.is_as_recorded();
    for service in WRITERS {
        platform.writes_on(service, 0);
        assert_eq!(platform.is_continuous(service, &[]), 1);
    }
}

#[test]
fn an_engine_that_loses_its_database_forgets_containers_that_write_on() {
    let mut platform = Platform::new();
    platform.deploy();
    platform.engine.lose_database();
    assert_eq!(platform.engine.podman(&["ps", "--all", "--quiet"]), "");
    assert_eq!(platform.engine.monitored().len(), CONTAINERS.len());
    for service in WRITERS {
        platform.writes_on(service, platform.records(service).len());
    }
    assert_eq!(platform.engine.podman(&["images", "--quiet"]).lines().count(), CONTAINERS.len() + 1);
}

#[test]
fn after_a_reboot_nothing_runs_and_a_deploy_brings_everything_back() {
    let mut platform = Platform::new();
    platform.deploy();
    platform.engine.reboot();
    assert_eq!(platform.engine.monitored(), []);
    assert_eq!(platform.engine.podman(&["ps", "--quiet"]), "");
    let written = WRITERS.map(|service| platform.records(service));
    platform.deploy();
    platform.is_as_recorded();
    for (service, written) in WRITERS.into_iter().zip(&written) {
        platform.writes_on(service, written.len());
        assert_eq!(platform.is_continuous(service, written), 2);
    }
}
