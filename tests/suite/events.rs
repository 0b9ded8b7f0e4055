//! `mcrun events`: what was told, listed and followed.

use crate::harness::{Place, until};

#[test]
fn events_are_listed_one_a_line_by_name_and_time() {
    let place = Place::new();
    assert_eq!(place.ends(0, &["events"]).stdout, "");
    for (event, data) in [("db.ready", r#"{ "text": "one\ntwo" }"#), ("db.lost", "null"), ("deployed", "3")] {
        place.ends(0, &["emit", event, "--data", data]);
    }
    let listed = |words: &[&str]| -> Vec<String> {
        let seen = place.ends(0, &[&["events"], words].concat());
        seen.stdout
            .lines()
            .map(|line| line.split_once(' ').expect("a time comes first").1.to_owned())
            .collect()
    };
    assert_eq!(listed(&[]), [r#"db.ready {"text":"one\ntwo"}"#, "db.lost", "deployed 3"]);
    assert_eq!(listed(&["db.*"]), [r#"db.ready {"text":"one\ntwo"}"#, "db.lost"]);
    assert_eq!(listed(&["-n", "1"]), ["deployed 3"]);
    assert_eq!(listed(&["--since", "1h", "*"]), ["deployed 3"]);
    assert_eq!(listed(&["--since", "2199-01-01T00:00:00Z"]), Vec::<String>::new());
    let lines = place.ends(0, &["events", "--json", "db.ready"]).stdout;
    let event: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((&event["event"], &event["data"]["text"]), (&"db.ready".into(), &"one\ntwo".into()));
}

#[test]
fn what_names_no_event_or_time_is_an_error() {
    let place = Place::new();
    place.ends(2, &["events", "no event"]).says(&["MC-U001", "container.*"]);
    place.ends(2, &["events", "--since", "yesterday"]).says(&["2026-12-24T17:00:00Z"]);
}

#[test]
fn new_events_are_followed_until_ctrl_c() {
    let place = Place::new();
    place.ends(0, &["emit", "db.ready"]);
    place.ends(0, &["emit", "other"]);
    let follower = place.start(&["events", "--follow", "db.*"]);
    let shows = |text: &str| until(text, || follower.shown().contains(text).then_some(()));
    shows("db.ready");
    place.ends(0, &["emit", "another"]);
    place.ends(0, &["emit", "db.restored"]);
    shows("db.restored");
    let pid = rustix::process::Pid::from_raw(i32::try_from(follower.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let seen = follower.end();
    assert_eq!((seen.code, seen.stdout.lines().count()), (Some(0), 2), "{seen}");
}
