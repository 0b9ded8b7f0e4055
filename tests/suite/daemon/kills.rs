//! A daemon that is killed again and again: nothing is lost, nothing is done twice.

use super::{comes_to, serving, stop};
use crate::harness::{Place, Started, until};

const RUNS: usize = 6;
const KILLS: usize = 8;
const STEPS: usize = 12;

/// Acts into a ledger under their keys: one that was cut is done again under the same key, as whoever keeps a ledger wants
/// it.
const SCRIPT: &str = "for index = 1, tonumber(args[3]) do\n\
     exec.run { argv = { \"/bin/sh\", \"-c\", `echo {args[2]}-{index} $MCRUN_IDEMPOTENCY_KEY >> {args[1]}/ledger` }, on_doubt = \"redo\" }\n\
     files.write { path = `{args[1]}/{args[2]}.count`, content = tostring(index) }\n\
     sleep(\"5ms\")\n\
     end\n";

#[test]
fn a_daemon_that_is_killed_again_and_again_loses_nothing() {
    let place = Place::new();
    let script = place.script("a.lua", SCRIPT);
    let out = place.at("out");
    std::fs::create_dir(&out).unwrap();
    let mut daemon = serving(&place);
    let steps = STEPS.to_string();
    let started: Vec<Started> = (0..RUNS)
        .map(|index| place.start(&[&script, &out, &format!("r{index}"), &steps, "--allow", "*"]))
        .collect();
    until("all are recorded", || (place.runs().len() == RUNS).then_some(()));
    let done = || place.read("out/ledger").lines().count();
    for _ in 0..KILLS {
        let before = done();
        // Something has happened since, or nothing is left to do.
        until("it goes on", || (done() > before || done() >= RUNS * STEPS).then_some(()));
        daemon.kill();
        daemon = serving(&place);
    }
    let mut ids: Vec<String> = place.runs().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), RUNS);
    for id in &ids {
        assert_eq!(comes_to(&place, id, &["done", "failed", "paused", "cancelled"]), "done");
    }
    for run in started {
        let seen = run.end();
        assert_eq!(seen.code, Some(0), "{seen}");
    }
    let ledger = place.read("out/ledger");
    let mut acts: Vec<&str> = ledger.lines().collect();
    acts.sort_unstable();
    acts.dedup();
    let mut expected: Vec<String> =
        (0..RUNS).flat_map(|run| (1..=STEPS).map(move |step| format!("r{run}-{step}"))).collect();
    expected.sort();
    let mut names: Vec<&str> = acts.iter().filter_map(|act| act.split(' ').next()).collect();
    names.sort_unstable();
    assert_eq!(names, expected, "each act once, under one key");
    for run in 0..RUNS {
        assert_eq!(place.read(&format!("out/r{run}.count")), steps);
    }
    for id in &ids {
        let shown = place.json(&["show", id, "--json"]);
        let entries = shown["entries"].as_array().unwrap();
        assert_eq!(entries.len(), STEPS * 3, "{id}");
        assert!(entries.iter().all(|entry| entry["status"] == "done"), "{shown:#}");
    }
    stop(daemon);
}
