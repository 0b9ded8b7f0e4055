//! The daemon executes runs: what a command shows is the same with it and without it, and whatever ends it, each effect
//! takes place once.

mod crowd;
mod kills;
mod life;
mod same;

use rustix::process::Signal;

use crate::harness::{Place, Started, until};
use crate::processes;

/// A daemon that is ready.
fn serving(place: &Place) -> Started {
    serving_with(place, &[])
}

fn serving_with(place: &Place, variables: &[(&str, &str)]) -> Started {
    let started = place.start_with(&["serve"], variables);
    until("the daemon is ready", || started.stderr().contains("ready").then_some(()));
    started
}

/// Ends a daemon as a service manager does.
#[track_caller]
fn stop(daemon: Started) {
    processes::signal(daemon.pid(), Signal::TERM);
    let end = daemon.end();
    assert_eq!(end.code, Some(0), "{end}");
}

/// A run's state, once it is one of `states`.
#[track_caller]
fn comes_to(place: &Place, run: &str, states: &[&str]) -> String {
    until(&format!("the run is {states:?}"), || {
        let shown = place.json(&["show", run, "--json"]);
        let state = shown["state"].as_str()?.to_owned();
        states.contains(&state.as_str()).then_some(state)
    })
}

fn holder_of(place: &Place, run: &str) -> Option<u64> {
    let text = std::fs::read_to_string(place.state().join("locks").join(format!("run-{run}"))).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).ok()?["pid"].as_u64()
}
