//! Runs that wait for long: no worker lives meanwhile, and whatever happens to the host, they go on when it is time.

use std::fs;

use rustix::process::Signal;

use crate::harness::{Place, Started, until};
use crate::processes;

/// A run that gives its worker back after a short while.
fn start(place: &Place, script: &str) -> Started {
    let host = place.start(&[script, "--allow", "*", "--limit", "idle=100ms"]);
    freed(place, &host);
    host
}

fn freed(place: &Place, host: &Started) {
    until("the run waits without a worker", || {
        let waits = place.runs().first().is_some_and(|run| run["state"] == "waiting");
        (waits && processes::worker_of(host.pid()).is_none()).then_some(())
    });
}

fn effect_that_leaves(place: &Place, line: &str) -> String {
    format!(
        "exec.run {{ argv = {{ \"/bin/sh\", \"-c\", \"echo {line} >> ledger\" }}, cwd = \"{}\" }}",
        place.path().display()
    )
}

#[test]
fn a_long_sleep_frees_the_worker_and_ends_in_time() {
    let place = Place::new();
    let text =
        format!("print(\"before\")\n{}\nsleep(\"3s\")\nprint(\"after\")", effect_that_leaves(&place, "once"));
    let host = start(&place, &place.script("sleep.lua", &text));
    let seen = host.end();
    assert_eq!(seen.code, Some(0), "{seen}");
    assert_eq!(seen.stdout, "before\nafter\n");
    assert_eq!(place.read("ledger"), "once\n");
    assert_eq!(seen.stderr.matches("sleep 3s").count(), 1, "{seen}");
    assert!(!seen.stderr.contains(" ms\ndone"), "the wait is counted from its begin: {seen}");
}

#[test]
fn events_continue_a_run_that_waits_for_them_each_once() {
    let place = Place::new();
    let text = "print(\"ready\")\nfor _ = 1, 3 do\n  local got = wait_for { event = \"db.ready\", within = \"1h\" }\n  \
                print(got.event, got.data and got.data.n)\nend";
    let script = place.script("wait.lua", text);
    place.ends(0, &["emit", "db.ready", "--data", "{\"n\":0}"]);
    let host = start(&place, &script);
    place.ends(0, &["emit", "other"]);
    place.ends(0, &["emit", "db.ready", "--data", "{\"n\":1}"]);
    place.ends(0, &["emit", "db.ready"]);
    freed(&place, &host);
    place.ends(0, &["emit", "db.ready", "--data", "{\"n\":3}"]);
    let seen = host.end();
    assert_eq!(seen.code, Some(0), "{seen}");
    assert_eq!(seen.stdout, "ready\ndb.ready\t1\ndb.ready\tnil\ndb.ready\t3\n");
}

#[test]
fn an_event_that_does_not_come_is_an_error_of_the_script() {
    let place = Place::new();
    let script = place.script("late.lua", "wait_for { event = \"never\", within = \"1s\" }");
    place.ends(1, &[&script, "--limit", "idle=50ms"]).says(&[
        "MC-X002",
        "`never` did not come",
        "mcrun emit never",
    ]);
}

#[test]
fn a_run_that_was_killed_while_it_waited_goes_on() {
    let place = Place::new();
    let text =
        format!("{}\nwait_for {{ event = \"go\" }}\nprint(\"on\")", effect_that_leaves(&place, "once"));
    let mut host = start(&place, &place.script("killed.lua", &text));
    host.kill();
    place.ends(0, &["emit", "go"]);
    assert_eq!(place.ends(0, &["resume", &place.newest_id()]).stdout, "on\n");
    assert_eq!(place.read("ledger"), "once\n");
}

#[test]
fn a_freed_run_can_be_interrupted_and_cancelled() {
    let place = Place::new();
    let script = place.script("asked.lua", "wait_for { event = \"go\" }");
    let host = start(&place, &script);
    processes::signal(host.pid(), Signal::INT);
    let seen = host.end();
    assert_eq!(seen.code, Some(6), "{seen}");
    assert_eq!(place.newest()["state"], "waiting");
    let host = place.start(&["resume", &place.newest_id()]);
    until("it waits again", || processes::worker_of(host.pid()));
    place.ends(0, &["cancel", &place.newest_id()]);
    let seen = host.end();
    assert_eq!(seen.code, Some(1), "{seen}");
    assert_eq!(place.newest()["state"], "cancelled");
}

#[test]
fn a_freed_run_keeps_its_services() {
    let place = Place::new();
    let text = "containers.ensure { name = \"held\", exec = { \"/bin/sleep\", \"3600\" } }\nwait_for { event = \"go\" }";
    let script = place.script("held.lua", text);
    place.configure("[drivers]\ncontainers = \"process\"\n");
    let mut host = start(&place, &script);
    let other = "containers.ensure { name = \"held\", exec = { \"/bin/sleep\", \"7200\" } }";
    place.ends(5, &[&place.script("other.lua", other), "--allow", "*"]).says(&["MC-J"]);
    host.kill();
    fs::write(place.at("released"), "").unwrap();
    place.ends(0, &[&place.script("other.lua", other), "--allow", "*"]);
}

#[test]
fn names_and_data_of_events_are_checked() {
    let place = Place::new();
    place.ends(2, &["emit", "a b"]).says(&["MC-U001", "letters, digits"]);
    place.ends(2, &["emit", "a", "--data", "{"]).says(&["MC-U001", "not JSON"]);
    let script = place.script("bad.lua", "wait_for { event = \"a b\" }");
    place.ends(1, &[&script]).says(&["MC-A001", "letters, digits"]);
}

#[test]
fn a_plan_lists_what_is_waited_for_and_knows_nothing_of_its_data() {
    let place = Place::new();
    let script = place.script(
        "plan.lua",
        "local got = wait_for { event = \"db.ready\" }\nprint(got.event)\nif got.data.size > 1 then print(\"never\") end",
    );
    let plan = place.ends(0, &["plan", &script]);
    assert!(plan.stdout.contains("wait_for") && plan.stdout.contains("the data of the event"), "{plan}");
}

#[test]
fn every_run_that_can_goes_on_at_once() {
    let place = Place::new();
    let sleeps = place.script("sleeps.lua", "sleep(\"2s\")\nprint(\"slept\")");
    let waits = place.script("waits.lua", "wait_for { event = \"go\" }");
    let fails = place.script("fails.lua", "wait_for { event = \"go\" }\nfail(\"enough\")");
    let paused = place.script("paused.lua", "pause { reason = \"look\" }");
    for script in [&sleeps, &waits, &fails] {
        start(&place, script).kill();
    }
    place.ends(6, &[&paused]);
    let mut host = place.start(&["resume", "--all", "--active", "1"]);
    until("the sleeper is done", || {
        place.runs().iter().find(|run| run["name"] == "sleeps.lua" && run["state"] == "done").map(drop)
    });
    host.kill();
    place.ends(0, &["emit", "go"]);
    let seen = place.ends(1, &["resume", "--all"]);
    seen.says(&["done waits.lua", "failed fails.lua", "enough"]);
    let states: Vec<_> = place.runs().iter().map(|run| run["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["paused", "failed", "done", "done"]);
    place.ends(0, &["resume", "--all"]).says(&["no run waits"]);
    place.ends(2, &["resume"]);
    place.ends(2, &["resume", "--all", "--active", "0"]);
}
