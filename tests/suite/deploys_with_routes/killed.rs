//! A deploy with a name is killed while it is at work, with each kind of its effects begun, applied and ended, and resumed:
//! the end is that of one that was left alone.

use serde_json::{Value, json};

use super::moments::{Moment, to_die_at};
use super::place::Served;
use super::under_load::visitors;
use crate::processes;
use crate::traffic::load::Stream;

/// What is to be the same however a deploy came to its end.
pub(super) fn end(served: &Served) -> Value {
    let containers = served.containers();
    let running = containers.iter().map(|made| json!([made["name"], made["state"], made["ports"]]));
    let routes = served.routes();
    let routes = routes.iter().map(|route| json!([route["hostname"], route["backends"], route["cert"]]));
    let counts = ["route", "certificate", "port", "service"].map(|kind| served.count(kind));
    json!({
        "containers": running.collect::<Vec<_>>(),
        "routes": routes.collect::<Vec<_>>(),
        "certificates": served.certificates().len(),
        "records": served.records(),
        "resolved": served.resolved(),
        "counts": counts,
    })
}

/// Deploys, is killed at a moment, and is resumed. Whether it was killed.
fn deploy_killed(served: &Served, settings: &[&str], moment: &Moment) -> bool {
    let killed = served.deploying(settings, &[("MCRUN_CRASH_AT", &moment.point())]).end();
    let newest = served.newest();
    if newest["state"] == "done" {
        drop(served.deploy(0, settings));
    } else {
        served.ends(0, &["resume", newest["id"].as_str().unwrap()]);
    }
    killed.code.is_none()
}

#[test]
fn a_first_deploy_killed_at_any_effect_is_resumed_to_the_same_end() {
    let served = Served::by_edge();
    let message = served.at("first");
    let version = format!("version={message}");
    let settings = ["replicas=1", version.as_str()];
    served.deploy(0, &settings);
    let usual = end(&served);
    served.ends(0, &["undeploy", "hello", "--yes"]);
    let moments = to_die_at(&served, &settings);
    assert_eq!(end(&served), usual);
    let (mut kills, mut issued) = (0, served.count("certificate-issued"));
    for moment in &moments {
        served.ends(0, &["undeploy", "hello", "--yes"]);
        served.has_nothing();
        kills += usize::from(deploy_killed(&served, &settings, moment));
        assert_eq!(end(&served), usual, "killed at {moment}");
        assert_eq!(processes::with_word(&message).len(), 1, "killed at {moment}: it runs once");
        assert_eq!(served.visited(), message, "killed at {moment}");
        issued += 1;
        assert_eq!(served.count("certificate-issued"), issued, "killed at {moment}: one was issued");
    }
    assert!(kills * 4 >= moments.len() * 3 && moments.len() >= 8, "{kills} kills at {moments:?}");
}

/// Rolls versions out one after the other, kills each roll-out at another moment, and resumes it; visitors notice nothing.
fn rolls_out_killed(strategy: &str) {
    let served = Served::by_edge();
    let strategy = format!("strategy={strategy}");
    let versions = ["one", "two"].map(|name| served.at(name));
    let chosen = versions.each_ref().map(|version| format!("version={version}"));
    let settings = |number: usize| ["plain=true", "replicas=2", &strategy, &chosen[number % 2]];
    served.deploy(0, &settings(0));
    // Two sets take turns: that of an odd number is the second.
    let usual = [1, 2].map(|number| {
        served.deploy(0, &settings(number));
        end(&served)
    });
    let moments = to_die_at(&served, &settings(3));
    let (mut kills, visitors) = (0, visitors(&served));
    for (number, moment) in (4..).zip(&moments) {
        kills += usize::from(deploy_killed(&served, &settings(number), moment));
        assert_eq!(end(&served), usual[(number + 1) % 2], "killed at {moment}");
        let of = |number: usize| processes::with_word(&versions[number % 2]).len();
        assert_eq!((of(number), of(number + 1)), (2, 0), "killed at {moment}");
        served.leads_to(&versions[number % 2]);
    }
    visitors.into_iter().for_each(Stream::ended);
    let releases = served.json(&["releases", "hello", "--json"]);
    assert_eq!(releases.as_array().expect("a list").len(), 4 + moments.len(), "each is recorded once");
    assert!(kills * 4 >= moments.len() * 3 && moments.len() >= 8, "{kills} kills at {moments:?}");
}

#[test]
fn recreate_killed_at_any_effect_is_resumed_without_a_lost_request() {
    rolls_out_killed("recreate");
}

#[test]
fn rolling_killed_at_any_effect_is_resumed_without_a_lost_request() {
    rolls_out_killed("rolling");
}

#[test]
fn blue_green_killed_at_any_effect_is_resumed_without_a_lost_request() {
    rolls_out_killed("blue_green");
}

#[test]
fn canary_killed_at_any_effect_is_resumed_without_a_lost_request() {
    rolls_out_killed("canary");
}
