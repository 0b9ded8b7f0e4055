//! One run at a time changes a service; who holds it is told, can be waited for, and dies with its process.

use std::fs;

use rustix::process::Signal;

use crate::harness::{Place, Started, until};
use crate::processes;

/// Ensures a service and then soaks until a file appears.
fn holder(place: &Place) -> String {
    place.script(
        "holder.lua",
        "containers.ensure { name = \"web\", service = \"web\", exec = { \"/bin/sleep\", \"600\" } }\n\
         files.write { path = \"held\", content = \"x\" }\n\
         while not files.stat({ path = \"go\" }).exists do sleep(\"10ms\") end\n\
         containers.ensure { name = \"web\", service = \"web\", exec = { \"/bin/sleep\", \"602\" } }\n",
    )
}

fn second(place: &Place) -> String {
    place.script(
        "second.lua",
        "\n\ncontainers.ensure { name = \"web\", service = \"web\", exec = { \"/bin/sleep\", \"601\" } }\n",
    )
}

fn go(place: &Place) {
    fs::write(place.at("scripts/go"), "").unwrap();
}

#[track_caller]
fn held(place: &Place, words: &[&str]) -> Started {
    let started = place.start(words);
    until("the lease is held", || fs::exists(place.at("scripts/held")).unwrap().then_some(()));
    started
}

fn argument(place: &Place) -> String {
    place.container("web").map(|web| web.to_string()).unwrap_or_default()
}

#[test]
fn the_holder_and_its_reason_are_told() {
    let place = Place::new();
    let (first, second) = (holder(&place), second(&place));
    let _held = held(&place, &[&first, "--allow", "*"]);
    let run = place.newest_id();
    let seen = place.ends(5, &[&second, "--allow", "*"]);
    seen.says(&[
        "MC-J003",
        &format!("run {run} holds service web since 2"),
        ": holder.lua:1 containers.ensure",
        "--wait",
        &format!("mcrun cancel {run}"),
    ]);
    // What follows the deploy is under the lease too: it soaks all the time.
    place.ends(5, &["resume", &place.newest_id(), "--wait=50ms"]).says(&["waiting:", "MC-J003"]);
}

#[test]
fn a_run_that_waits_goes_on_when_the_holder_ends() {
    let place = Place::new();
    let (first, second) = (holder(&place), second(&place));
    let held = held(&place, &[&first, "--allow", "*"]);
    let waiting = place.start(&[&second, "--allow", "*", "--wait"]);
    until("it waits", || waiting.stderr().contains("waiting: run ").then_some(()));
    go(&place);
    assert_eq!(held.end().code, Some(0));
    let seen = waiting.end();
    assert_eq!(seen.code, Some(0), "{seen}");
    assert!(argument(&place).contains("601"), "the last one counts");
}

#[test]
fn every_command_that_changes_a_service_can_wait() {
    let place = Place::new();
    let first = holder(&place);
    let held = held(&place, &[&first, "--allow", "*"]);
    place.ends(5, &["stop", "web"]).says(&["MC-J003", "--wait"]);
    let waiting = place.start(&["stop", "web", "--wait"]);
    until("it waits", || waiting.stderr().contains("waiting: run ").then_some(()));
    go(&place);
    assert_eq!((held.end().code, waiting.end().code), (Some(0), Some(0)));
    assert_ne!(place.container("web").unwrap()["state"], "running");
}

#[test]
fn a_killed_holder_frees_what_it_held() {
    let place = Place::new();
    let (first, second) = (holder(&place), second(&place));
    let mut held = held(&place, &[&first, "--allow", "*"]);
    let waiting = place.start(&[&second, "--allow", "*", "--wait=30s"]);
    until("it waits", || waiting.stderr().contains("waiting: run ").then_some(()));
    held.kill();
    let seen = waiting.end();
    assert_eq!(seen.code, Some(0), "{seen}");
}

#[test]
fn waiting_can_be_given_up_and_gone_on_with() {
    let place = Place::new();
    let (first, second) = (holder(&place), second(&place));
    let held = held(&place, &[&first, "--allow", "*"]);
    let waiting = place.start(&[&second, "--allow", "*", "--wait"]);
    until("it waits", || waiting.stderr().contains("waiting: run ").then_some(()));
    processes::signal(waiting.pid(), Signal::INT);
    let seen = waiting.end();
    assert_eq!(seen.code, Some(130), "{seen}");
    let run = place.newest();
    assert_eq!((run["state"].as_str(), run["resumable"].as_bool()), (Some("paused"), Some(true)), "{run:#}");
    go(&place);
    assert_eq!(held.end().code, Some(0));
    place.ends(0, &["resume", run["id"].as_str().unwrap()]);
    assert!(argument(&place).contains("601"));
}

#[test]
fn a_resumed_run_takes_again_what_it_held() {
    let place = Place::new();
    let (first, second) = (holder(&place), second(&place));
    let mut held = held(&place, &[&first, "--allow", "*"]);
    let run = place.newest_id();
    held.kill();
    // It only soaks: nothing that it does now would take the lease.
    let _resumed = place.start(&["resume", &run, "--wait"]);
    until("the resumed run holds the service", || {
        (place.run(&[&second, "--allow", "*"]).code == Some(5)).then_some(())
    });
}

#[test]
fn a_resume_waits_for_what_it_held_and_can_be_interrupted() {
    let place = Place::new();
    let first = holder(&place);
    let mut killed = held(&place, &[&first, "--allow", "*"]);
    let run = place.newest_id();
    killed.kill();
    fs::remove_file(place.at("scripts/held")).unwrap();
    let _other = held(&place, &[&first, "--allow", "*"]);
    place.ends(5, &["resume", &run]).says(&["MC-J003"]);
    let waiting = place.start(&["resume", &run, "--wait"]);
    until("it waits", || waiting.stderr().contains("waiting: run ").then_some(()));
    processes::signal(waiting.pid(), Signal::INT);
    let seen = waiting.end();
    assert_eq!(seen.code, Some(130), "{seen}");
    assert_eq!(place.json(&["show", &run, "--json"])["resumable"], true);
}

#[test]
fn nothing_begins_under_a_lease_that_somebody_else_took() {
    let place = Place::new();
    let (first, second) = (holder(&place), second(&place));
    let old = held(&place, &[&first, "--allow", "*"]);
    let run = place.newest_id();
    // Somebody removes the lock file, and another run takes what it believes to be free.
    for file in fs::read_dir(place.state().join("locks")).unwrap().flatten() {
        if file.file_name().to_str().unwrap().starts_with("lease-") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    place.ends(0, &[&second, "--allow", "*"]);
    let taker = place.newest_id();
    go(&place);
    let seen = old.end();
    assert_eq!(seen.code, Some(5), "{seen}");
    seen.says(&["MC-J015", &taker]);
    assert!(argument(&place).contains("601"), "the old holder changed nothing any more");
    place.ends(0, &["resume", &run]);
    assert!(argument(&place).contains("602"));
}

#[test]
fn two_plans_at_once_are_carried_out_one_after_the_other() {
    let place = Place::new();
    let plan = |name: &str, seconds: &str| {
        let text = format!(
            "containers.ensure {{ name = \"{name}\", service = \"web\", exec = {{ \"/bin/sleep\", \"{seconds}\" }} }}\n"
        );
        let script = place.script(&format!("{name}.lua"), &text);
        let plan = place.at(&format!("{name}.plan"));
        place.ends(0, &["plan", &script, "--allow", "*", "--out", &plan]);
        plan
    };
    let plans = [plan("one", "601"), plan("two", "602")];
    let started = plans.each_ref().map(|plan| place.start(&["apply", plan, "--wait"]));
    for started in started {
        let seen = started.end();
        assert_eq!(seen.code, Some(0), "{seen}");
    }
    assert_eq!(place.containers().len(), 2);
}
