//! What the daemon watches: containers that exit, services that do not answer, and those that are not what the registry says.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{PROGRAM, Place, Started, until};
use crate::traffic::backend;
use crate::traffic::place::Routed;

/// One that has no port where it need not answer: while it is down, nobody else can take what it needs.
const SERVICE: &str = r#"
local deploy = require("@std/deploy")
local answers = params.answers == true
deploy.rollout(deploy.service {
    name = "web",
    version = "v1",
    exec = if answers then { params.mcrun, "demo-server", "hello" } else { "/bin/sleep", "600" },
    restart = params.restart or "no",
    routes = if answers then { { mode = "l7" } } else {},
    health = if answers then { http = "/v1/health", within = "30s", timeout = "2s" } else nil,
}, { strategy = "recreate" })
"#;

const QUICK: &str =
    "[drivers]\ncontainers = \"process\"\n[monitors]\nevery = \"200ms\"\ndrift_every = \"300ms\"\n";

fn deploy(place: &Place, settings: &[&str]) {
    let script = place.script("web.lua", SERVICE);
    let mcrun = format!("mcrun={PROGRAM}");
    let mut words = vec![script.as_str(), "--allow", "*", "--set", &mcrun];
    for setting in settings {
        words.extend(["--set", setting]);
    }
    place.ends(0, &words);
}

fn events(place: &Place) -> Vec<(String, Value)> {
    let database = rusqlite::Connection::open(place.database()).unwrap();
    let mut query = database.prepare("SELECT name, data FROM events ORDER BY id").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    rows.map(|row| row.unwrap()).map(|(name, data)| (name, serde_json::from_str(&data).unwrap())).collect()
}

fn named(place: &Place, name: &str) -> Vec<Value> {
    events(place).into_iter().filter(|(known, _)| known == name).map(|(_, data)| data).collect()
}

fn one(place: &Place, name: &str) -> Value {
    until(name, || named(place, name).into_iter().next())
}

/// How the monitors remember a container.
fn remembered(place: &Place, name: &str) -> Option<Value> {
    let database = rusqlite::Connection::open(place.database()).unwrap();
    let value: Option<String> = database
        .query_row("SELECT value FROM records WHERE kind = 'monitor' AND name = ?", [name], |row| row.get(0))
        .ok();
    serde_json::from_str(&value?).ok()
}

fn is_remembered(place: &Place, field: &str, value: bool) {
    until(field, || (remembered(place, "container/web")?[field] == value).then_some(()));
}

fn serving(place: &Place) -> Started {
    let served = place.start(&["serve"]);
    until("it is ready", || served.stderr().contains("ready").then_some(()));
    served
}

fn stop(served: Started) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(served.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let end = served.end();
    assert_eq!(end.code, Some(0), "{end}");
}

/// Kills the program of the container, as the kernel would that has run out of memory.
fn kill(place: &Place) {
    let pid = place.container("web").expect("it is deployed")["pid"].as_i64().expect("it runs");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_container_that_exits_is_told_of_once_and_what_a_run_stops_is_not() {
    let place = Place::new();
    place.configure(QUICK);
    deploy(&place, &[]);
    let served = serving(&place);
    is_remembered(&place, "up", true);
    // A run stops it and starts it again: somebody wanted that.
    place.ends(0, &["stop", "web"]);
    is_remembered(&place, "stopped", true);
    place.ends(0, &["start", "web"]);
    is_remembered(&place, "up", true);
    assert_eq!(named(&place, "container.exited"), Vec::<Value>::new());

    kill(&place);
    let told = one(&place, "container.exited");
    assert_eq!((told["name"].as_str(), told["service"].as_str()), (Some("web"), Some("web")));
    assert_eq!(told["exit_code"], 137);
    let drift = one(&place, "drift.detected");
    assert_eq!(drift["service"], "web");
    assert_eq!(drift["differences"][0]["effect"], "containers.ensure", "{drift}");
    stop(served);

    // Whoever comes next knows of it already.
    let served = serving(&place);
    place.ends(0, &["start", "web"]);
    is_remembered(&place, "up", true);
    one(&place, "drift.gone");
    assert_eq!(named(&place, "container.exited").len(), 1, "{:?}", events(&place));
    assert_eq!(named(&place, "drift.detected").len(), 1, "{:?}", events(&place));
    // What is taken away is nobody's concern any more.
    place.ends(0, &["undeploy", "web", "--yes"]);
    until("it is forgotten", || remembered(&place, "container/web").is_none().then_some(()));
    assert_eq!(named(&place, "container.exited").len(), 1, "{:?}", events(&place));
    stop(served);
}

#[test]
fn a_disk_that_fills_is_told_of_once_and_again_when_it_has_room() {
    let place = Place::new();
    // Every disk has more in use than nothing, and less than almost everything.
    place.configure(&format!("{QUICK}disk_beyond = 0\n"));
    let served = serving(&place);
    let filling = one(&place, "disk.filling");
    assert!(filling["used"].as_u64().is_some_and(|used| (1..=100).contains(&used)), "{filling}");
    assert_eq!(filling["path"], place.state().to_str().unwrap());
    place.configure(&format!("{QUICK}disk_beyond = 99\n"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(served.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    one(&place, "disk.free");
    assert_eq!(named(&place, "disk.filling").len(), 1, "{:?}", events(&place));
    stop(served);
}

#[test]
fn a_route_that_leads_nowhere_is_told_of_with_its_hop_and_again_when_it_leads_somewhere() {
    let routed = Routed::new();
    routed.settle_for(QUICK);
    let (answers, gone) =
        (backend::start("one"), TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let served = routed.serve();
    routed.put("well.test", &[answers]);
    routed.put("lost.test", &[gone]);
    let broken = one(&routed, "route.broken");
    assert_eq!(broken["route"], "lost.test:8080");
    let hop = broken["hop"].as_str().unwrap();
    assert!(hop.starts_with("an answer for lost.test") || hop.contains(&gone.to_string()), "{broken}");
    assert!(broken["message"].as_str().is_some_and(|message| !message.is_empty()), "{broken}");
    routed.put("lost.test", &[answers]);
    assert_eq!(one(&routed, "route.mended")["route"], "lost.test:8080");
    assert_eq!(named(&routed, "route.broken").len(), 1, "{:?}", events(&routed));
    stop(served);
}

#[test]
fn a_server_of_names_that_is_silent_is_told_of_and_again_when_it_answers() {
    let place = Place::new();
    let own = crate::names::place::address();
    // Whoever is asked next has the port, and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let next = silent.local_addr().unwrap();
    place.configure(&format!("{QUICK}[dns]\nlisten = [\"{own}\"]\n[dns.forward]\nfallback = [\"{next}\"]\n"));
    let served = serving(&place);
    let told = one(&place, "resolver.silent");
    assert!(told["server"].as_str().is_some_and(|server| server.contains(&next.to_string())), "{told}");
    let stop_answering = answer_everything(silent);
    one(&place, "resolver.back");
    assert_eq!(named(&place, "resolver.silent").len(), 1, "{:?}", events(&place));
    stop(served);
    drop(stop_answering);
}

/// Answers every question with its own octets and no records, until what is returned is dropped.
fn answer_everything(socket: UdpSocket) -> Arc<()> {
    let alive = Arc::new(());
    let watched = Arc::downgrade(&alive);
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    std::thread::spawn(move || {
        let mut message = [0; 1500];
        while watched.strong_count() > 0 {
            let Ok((length, asker)) = socket.recv_from(&mut message) else { continue };
            // QR: an answer; RA: recursion is there.
            message[2] |= 0x80;
            message[3] = 0x80;
            let _ = socket.send_to(&message[..length], asker);
        }
    });
    alive
}

#[test]
fn a_container_that_is_started_again_is_told_of() {
    let place = Place::new();
    place.configure(QUICK);
    deploy(&place, &["restart=unless-stopped"]);
    let served = serving(&place);
    is_remembered(&place, "up", true);
    kill(&place);
    let told = one(&place, "container.restarted");
    assert_eq!((told["name"].as_str(), told["restarts"].as_u64()), (Some("web"), Some(1)));
    stop(served);
}

#[test]
fn a_service_that_does_not_answer_is_unhealthy_until_it_does() {
    let place = Place::new();
    place.configure(QUICK);
    deploy(&place, &["answers=true"]);
    let served = serving(&place);
    let pid = place.container("web").unwrap()["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let told = one(&place, "service.unhealthy");
    assert_eq!((told["service"].as_str(), told["container"].as_str()), (Some("web"), Some("web")));
    assert_eq!(named(&place, "service.healthy"), Vec::<Value>::new());
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    one(&place, "service.healthy");
    assert_eq!(named(&place, "service.unhealthy").len(), 1, "{:?}", events(&place));
    stop(served);
}

#[test]
fn a_container_that_is_started_again_and_again_is_told_of_once() {
    let place = Place::new();
    place.configure(QUICK);
    deploy(&place, &["restart=always"]);
    let served = serving(&place);
    is_remembered(&place, "up", true);
    for restarts in 1..=5 {
        kill(&place);
        until("it is back, and seen to be", || {
            let seen = remembered(&place, "container/web")?;
            (seen["restarts"] == restarts && place.container("web")?["state"] == "running").then_some(())
        });
    }
    let told = one(&place, "container.flapping");
    assert_eq!((told["name"].as_str(), told["restarts"].as_u64()), (Some("web"), Some(3)));
    assert_eq!(named(&place, "container.flapping").len(), 1, "{:?}", events(&place));
    // The first two were no flapping yet.
    assert_eq!(named(&place, "container.restarted").len(), 2, "{:?}", events(&place));
    let standing = place.json(&["drift", "web", "--json"])["services"][0].clone();
    assert_eq!(standing["state"], "flapping", "{standing}");
    assert!(standing["reasons"][0].as_str().is_some_and(|reason| reason.contains("5 times")), "{standing}");
    // Another container of that name has not been started again.
    place.ends(0, &["undeploy", "web", "--yes"]);
    until("it is forgotten", || remembered(&place, "container/web").is_none().then_some(()));
    deploy(&place, &["restart=always"]);
    place.ends(0, &["drift", "web"]);
    stop(served);
}

#[test]
fn a_clock_that_is_set_is_told_of() {
    const TEN_DAYS: i64 = 10 * 24 * 60 * 60 * 1000;
    let place = Place::new();
    place.configure(QUICK);
    let served = place.start_with(&["serve"], &[("MCRUN_CLOCK_JUMPS", "7")]);
    until("it is ready", || served.stderr().contains("ready").then_some(()));
    let told = one(&place, "clock.jumped");
    let by = told["by_ms"].as_i64().expect("a number");
    // What passes between reading both clocks is no jump.
    let rest = by.rem_euclid(TEN_DAYS);
    assert!(by != 0 && rest.min(TEN_DAYS - rest) < 60_000, "{told}");
    stop(served);
}
