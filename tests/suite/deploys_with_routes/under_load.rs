//! Each strategy replaces a version that is visited all the while. What runs when it begins ends as it would have; what does
//! not end in time is cut.

use super::place::{HOST, Served};
use crate::harness::{PROGRAM, until};
use crate::traffic::load::{Connection, Stream};

const HALF: usize = 64 << 10;

/// Requests over connections that are kept, and over one each.
pub(super) fn visitors(served: &Served) -> Vec<Stream> {
    let visitors = [true, true, false, false].map(|keeps| Stream::requests(served.at, HOST, keeps));
    visitors.iter().for_each(|visitor| visitor.goes_on(20));
    visitors.into()
}

/// The effect on a route that is under way: its place in the run.
fn under_way(served: &Served) -> Option<String> {
    let run = served.newest_shown();
    let entries = run["entries"].as_array()?.iter();
    let mut begun = entries.filter(|entry| {
        let name = entry["identity"]["name"].as_str().unwrap_or_default();
        entry["status"] == "begun" && name.starts_with("routes.")
    });
    begun.next().map(|entry| entry["identity"].to_string())
}

/// Waits until the roll-out waits for what is under way.
#[track_caller]
fn waits(served: &Served, tunnel: &mut Connection) {
    until("the roll-out waits for what is under way", || {
        let first = under_way(served)?;
        // Nothing else is under way for as long.
        for _ in 0..200 {
            assert_eq!(tunnel.echo("ping").unwrap(), "ping");
        }
        (under_way(served)? == first).then_some(())
    });
}

/// Deploys two versions, of which the second has to wait for a tunnel and for an upload.
fn loses_nothing(strategy: &str, replicas: u8) {
    let served = Served::by_daemon();
    let replicas = format!("replicas={replicas}");
    let strategy = format!("strategy={strategy}");
    let settings = |version| ["plain=true", "drain=60s", &replicas, &strategy, version];
    served.deploy(0, &settings("version=v1"));
    served.answers("v1");
    let visitors = visitors(&served);
    let mut tunnel = Connection::open(served.at).unwrap();
    tunnel.upgrade(HOST).unwrap();
    let mut upload = Connection::open(served.at).unwrap();
    upload.send(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {}\r\n\r\n", 2 * HALF)).unwrap();
    upload.send(&"x".repeat(HALF)).unwrap();
    assert_eq!(tunnel.echo("before").unwrap(), "before");

    let deploy = served.deploying(&settings("version=v2"), &[]);
    waits(&served, &mut tunnel);
    upload.send(&"x".repeat(HALF)).unwrap();
    assert_eq!(upload.answer().unwrap(), (200, format!("v1 {}\n", 2 * HALF)));
    assert_eq!(tunnel.echo("after").unwrap(), "after");
    assert_eq!(served.newest()["state"], "running", "it waits for the tunnel");
    drop((tunnel, upload));
    let seen = deploy.end();
    assert_eq!(seen.code, Some(0), "{seen}");
    served.answers("v2");
    visitors.iter().for_each(|visitor| visitor.goes_on(20));
    visitors.into_iter().for_each(Stream::ended);
    served.leads_to("v2");
}

#[test]
fn recreate_loses_no_request() {
    loses_nothing("recreate", 2);
}

#[test]
fn rolling_loses_no_request() {
    loses_nothing("rolling", 2);
}

#[test]
fn rolling_a_single_replica_loses_no_request() {
    loses_nothing("rolling", 1);
}

#[test]
fn blue_green_loses_no_request() {
    loses_nothing("blue_green", 2);
}

#[test]
fn canary_loses_no_request() {
    loses_nothing("canary", 3);
}

#[test]
fn visitors_over_tls_lose_no_request() {
    let served = Served::by_daemon();
    served.deploy(0, &["version=v0"]);
    for (number, strategy) in ["recreate", "rolling", "blue_green", "canary"].into_iter().enumerate() {
        let (old, new) = (format!("v{number}"), format!("v{}", number + 1));
        let words = served.words(&[&format!("version={new}"), &format!("strategy={strategy}")]);
        let seen = served.visited_while(&[vec![PROGRAM.to_owned()], words].concat());
        assert!(seen.contains(" requests sent, 0 failed\n"), "{strategy}: {seen}");
        assert!(seen.contains(&format!("× {old}")), "{strategy}, before: {seen}");
        assert_eq!(served.visited(), new);
    }
}

#[test]
fn a_tunnel_that_outlasts_the_drain_is_cut_and_the_roll_out_goes_on() {
    let served = Served::by_daemon();
    for (number, strategy) in ["recreate", "rolling", "blue_green", "canary"].into_iter().enumerate() {
        let strategy = format!("strategy={strategy}");
        let version = |number| format!("version=v{number}");
        let settings = ["plain=true", "drain=300ms", &strategy];
        let deploy = |number| served.deploy(0, &[&settings[..], &[&version(number)]].concat());
        deploy(2 * number);
        let visitors = visitors(&served);
        let mut tunnel = Connection::open(served.at).unwrap();
        tunnel.upgrade(HOST).unwrap();
        assert_eq!(tunnel.echo("before").unwrap(), "before");
        deploy(2 * number + 1);
        assert!(tunnel.echo("after").is_err(), "{strategy}: it was cut");
        served.answers(&format!("v{}", 2 * number + 1));
        visitors.into_iter().for_each(Stream::ended);
    }
}

#[test]
fn a_restart_loses_no_request() {
    let served = Served::by_daemon();
    for replicas in ["replicas=1", "replicas=2"] {
        served.deploy(0, &["plain=true", "version=v1", replicas]);
        let visitors = visitors(&served);
        served.ends(0, &["restart", "hello"]);
        visitors.iter().for_each(|visitor| visitor.goes_on(20));
        visitors.into_iter().for_each(Stream::ended);
        served.answers("v1");
    }
}
