//! The crash matrix: every script is killed at every point that it passes, and at every write and sync that SQLite makes
//! behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::carry::{Carried, Fate};
use super::ledger::Ledger;
use super::proof::Proof;
use super::scenes::{SCENES, Scene};
use crate::harness::report;

/// What became of the kills.
#[derive(Default)]
struct Tally {
    kills: AtomicUsize,
    decided: AtomicUsize,
    unreached: Mutex<Vec<String>>,
    failed: Mutex<Vec<String>>,
}

#[test]
fn a_run_killed_at_any_point_is_resumed_to_the_same_end() {
    let ledger = Ledger::start();
    let positions: Vec<(&Scene, String)> = SCENES
        .iter()
        .flat_map(|scene| positions(scene, &ledger).into_iter().map(move |position| (scene, position)))
        .collect();
    assert!(positions.len() >= 1000, "only {} positions", positions.len());
    for kind in
        ["start@", "begin:", "act:", "apply:", "compare:", "read:", "wait:", "driver:", "log:", "source:"]
    {
        assert!(positions.iter().any(|(_, point)| point.starts_with(kind)), "no point of `{kind}`");
    }
    let (next, tally) = (AtomicUsize::new(0), Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((scene, position)) = positions.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let killed = AssertUnwindSafe(|| kill_at(scene, position, &ledger, &tally));
                    if catch_unwind(killed).is_err() {
                        tally.failed.lock().unwrap().push(format!("{}: {position}", scene.name));
                    }
                }
            });
        }
    });
    let Tally { kills, decided, unreached, failed } = tally;
    let (failed, unreached) = (failed.into_inner().unwrap(), unreached.into_inner().unwrap());
    let mut by_scene: BTreeMap<&str, usize> = BTreeMap::new();
    for (scene, _) in &positions {
        *by_scene.entry(scene.name).or_default() += 1;
    }
    for (scene, count) in by_scene {
        report(&format!("kills at every point: {scene}"), count, "positions", 0);
    }
    let (kills, decided) = (kills.into_inner(), decided.into_inner());
    report("kills at every point, resumes killed as well", kills, "kills", failed.len());
    report("acts in doubt that the ledger decided about", decided, "acts", 0);
    assert_eq!(failed, [""; 0], "positions that did not end well, of {}", positions.len());
    assert_eq!(unreached, [""; 0], "positions that were not reached, of {}", positions.len());
}

/// Where one undisturbed run of the scene can be killed.
pub(super) fn positions(scene: &Scene, ledger: &Ledger) -> Vec<String> {
    let stage = scene.stage(ledger);
    let log = stage.place.at("points");
    let words: Vec<&str> = stage.words.iter().map(String::as_str).collect();
    let seen = stage.place.start_with(&words, &[("MCRUN_CRASH_LOG", &log)]).end();
    assert_eq!(seen.code, Some(0), "{}: {seen}", scene.name);
    let mut proof = Proof::new(&stage.place, &stage.page, scene.run, scene.takes_back);
    let observed = proof.observe(false);
    proof.check_end(&observed);
    scene.check(&stage, &observed);
    let passed = stage.place.read("points");
    // Whether a read of the journal finds something that is not committed yet is a matter of milliseconds; what is
    // committed then has points of its own.
    let passed: BTreeSet<&str> = passed.lines().filter(|point| !point.starts_with("barrier:")).collect();
    for kind in ["end:", "run:", "state:"] {
        assert!(passed.iter().any(|point| point.starts_with(kind)), "{}: no point of `{kind}`", scene.name);
    }
    passed.into_iter().map(str::to_owned).collect()
}

/// Kills a run there and brings it to its end.
fn kill_at(scene: &Scene, position: &str, ledger: &Ledger, tally: &Tally) {
    let number = tally.kills.fetch_add(1, Ordering::Relaxed);
    let stage = scene.stage(ledger);
    let mut carried = Carried::new(&stage.place, &stage.page, &stage.words, scene.run, scene.takes_back);
    if !carried.attempt(&Fate::At(position.to_owned())) {
        tally.kills.fetch_sub(1, Ordering::Relaxed);
        let varies = scene.varies.iter().any(|kind| position.starts_with(kind));
        if !varies {
            tally.unreached.lock().unwrap().push(format!("{}: {position}", scene.name));
        }
    }
    // Every third resume is killed as well, a few points further on.
    if number.is_multiple_of(3) && carried.attempt(&Fate::At((number % 41 + 1).to_string())) {
        tally.kills.fetch_add(1, Ordering::Relaxed);
    }
    let observed = carried.finish();
    scene.check(&stage, &observed);
    tally.decided.fetch_add(carried.proof.decided, Ordering::Relaxed);
}
