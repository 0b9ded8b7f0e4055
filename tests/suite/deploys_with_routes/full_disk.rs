//! The disk is full when the first thing of an effect is to be recorded: the deploy stops with a coded error, and is resumed
//! to the same end once there is room. Nobody who comes meanwhile notices.

use std::fs;

use super::killed::end;
use super::moments::{Moment, to_be_full_at};
use super::place::Served;
use super::under_load::visitors;
use crate::processes;
use crate::traffic::load::Stream;

/// Deploys, finds the disk full at a moment, and is resumed with room. Whether that stopped it.
#[track_caller]
fn deploy_full(served: &Served, settings: &[&str], moment: &Moment) -> bool {
    let junk = served.state().join("junk");
    let path = junk.to_str().expect("a plain name").to_owned();
    let stopped =
        served.deploying(settings, &[("MCRUN_FULL_AT", &moment.before()), ("MCRUN_FULL_BY", &path)]).end();
    assert!(junk.exists(), "it was never at {moment}: {stopped}");
    fs::remove_file(&junk).unwrap();
    let newest = served.newest();
    if newest["state"] == "done" {
        return false;
    }
    assert!(stopped.code.is_some_and(|code| code != 0), "full at {moment}: {stopped}");
    stopped.says(&["error[MC-"]);
    assert!(!stopped.stderr.contains("panicked"), "full at {moment}: {stopped}");
    assert_eq!(newest["resumable"], true, "full at {moment}: {newest:#}");
    served.ends(0, &["resume", newest["id"].as_str().unwrap()]);
    true
}

#[test]
fn a_first_deploy_that_finds_the_disk_full_at_any_effect_is_resumed_to_the_same_end() {
    let served = Served::by_edge_on_a_small_disk();
    let message = served.at("first");
    let version = format!("version={message}");
    let settings = ["replicas=1", version.as_str()];
    served.deploy(0, &settings);
    let usual = end(&served);
    served.ends(0, &["undeploy", "hello", "--yes"]);
    let moments = to_be_full_at(&served, &settings);
    let (mut stopped, mut issued) = (0, served.count("certificate-issued"));
    for moment in &moments {
        served.ends(0, &["undeploy", "hello", "--yes"]);
        stopped += usize::from(deploy_full(&served, &settings, moment));
        assert_eq!(end(&served), usual, "full at {moment}");
        assert_eq!(processes::with_word(&message).len(), 1, "full at {moment}: it runs once");
        assert_eq!(served.visited(), message, "full at {moment}");
        issued += 1;
        assert_eq!(served.count("certificate-issued"), issued, "full at {moment}: one was issued");
    }
    assert!(stopped == moments.len() && moments.len() >= 6, "{stopped} were stopped at {moments:?}");
}

/// Rolls versions out one after the other, with a full disk at another moment of each; visitors notice nothing.
fn rolls_out_full(strategy: &str) {
    let served = Served::by_edge_on_a_small_disk();
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
    let moments = to_be_full_at(&served, &settings(3));
    let (mut stopped, visitors) = (0, visitors(&served));
    for (number, moment) in (4..).zip(&moments) {
        stopped += usize::from(deploy_full(&served, &settings(number), moment));
        assert_eq!(end(&served), usual[(number + 1) % 2], "full at {moment}");
        let of = |number: usize| processes::with_word(&versions[number % 2]).len();
        assert_eq!((of(number), of(number + 1)), (2, 0), "full at {moment}");
        served.leads_to(&versions[number % 2]);
    }
    visitors.into_iter().for_each(Stream::ended);
    let releases = served.json(&["releases", "hello", "--json"]);
    assert_eq!(releases.as_array().expect("a list").len(), 4 + moments.len(), "each is recorded once");
    assert!(stopped == moments.len() && moments.len() >= 4, "{stopped} were stopped at {moments:?}");
}

#[test]
fn recreate_that_finds_the_disk_full_is_resumed_without_a_lost_request() {
    rolls_out_full("recreate");
}

#[test]
fn rolling_that_finds_the_disk_full_is_resumed_without_a_lost_request() {
    rolls_out_full("rolling");
}

#[test]
fn blue_green_that_finds_the_disk_full_is_resumed_without_a_lost_request() {
    rolls_out_full("blue_green");
}

#[test]
fn canary_that_finds_the_disk_full_is_resumed_without_a_lost_request() {
    rolls_out_full("canary");
}
