//! A deploy with a name is killed while it is at work, at moments spread over all its effects, and resumed: the end is that
//! of one that was left alone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::place::Served;
use crate::processes;

/// How many of the moments are tried.
const MOMENTS: usize = 24;

/// What is to be the same however a deploy came to its end.
fn end(served: &Served) -> Value {
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

/// The moments of a deploy that effects are begun, done or ended, spread evenly.
fn moments(served: &Served, settings: &[&str]) -> Vec<String> {
    let log = served.at("points");
    let seen = served.deploying(settings, &[("MCRUN_CRASH_LOG", &log)]).end();
    assert_eq!(seen.code, Some(0), "{seen}");
    let passed = served.read("points");
    let steady = |point: &&str| {
        !point.contains('+')
            && !["barrier:", "state:", "start@", "log:"].iter().any(|kind| point.starts_with(kind))
    };
    let mut seen = BTreeSet::new();
    let passed: Vec<&str> = passed.lines().filter(steady).filter(|point| seen.insert(*point)).collect();
    assert!(passed.len() > MOMENTS, "{passed:?}");
    (0..MOMENTS).map(|number| passed[number * passed.len() / MOMENTS].to_owned()).collect()
}

/// Deploys, is killed at a moment, and is resumed. Whether it was killed.
fn deploy_killed(served: &Served, settings: &[&str], moment: &str) -> bool {
    let killed = served.deploying(settings, &[("MCRUN_CRASH_AT", moment)]).end();
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
    let moments = moments(&served, &settings);
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
    assert!(kills > MOMENTS * 3 / 4, "{kills} kills at {moments:?}");
}

#[test]
fn a_roll_out_killed_at_any_effect_is_resumed_to_the_same_end() {
    let served = Served::by_edge();
    let versions = ["one", "two"].map(|name| served.at(name));
    for strategy in ["strategy=recreate", "strategy=rolling"] {
        let all = versions.each_ref().map(|version| format!("version={version}"));
        let settings = |number: usize| ["replicas=2", strategy, all[number % 2].as_str()];
        served.deploy(0, &settings(0));
        let moments = moments(&served, &settings(1));
        let usual = end(&served);
        let (mut kills, mut number) = (0, 1);
        for moment in &moments {
            number += 1;
            kills += usize::from(deploy_killed(&served, &settings(number), moment));
            assert_eq!(end(&served), usual, "{strategy}, killed at {moment}");
            let of = |number: usize| processes::with_word(&versions[number % 2]).len();
            assert_eq!((of(number), of(number + 1)), (2, 0), "{strategy}, killed at {moment}");
            assert_eq!(served.visited(), versions[number % 2], "{strategy}, killed at {moment}");
        }
        assert!(kills > MOMENTS * 3 / 4, "{kills} kills at {moments:?}");
    }
}
