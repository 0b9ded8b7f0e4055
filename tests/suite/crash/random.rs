//! Random programs, killed at random again and again until they are done.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::carry::{Carried, Fate};
use super::ledger::Ledger;
use super::program::{Dice, program};
use crate::harness::{Place, in_memory, report};

/// How many kills, each with its resume: as many as CI has time for, more behind `make soak`.
const ROUNDS: usize = 5000;
/// A program is killed at most this often; then it may come to its end.
const MOST_KILLS: usize = 12;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn random_programs_killed_at_random_lose_nothing_and_repeat_nothing() {
    let rounds = number("MCRUN_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let next = AtomicU64::new(number("MCRUN_SEED").unwrap_or(1));
    let (kills, programs, decided) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let jumping = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let ledger = Ledger::start();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while kills.load(Ordering::Relaxed) < rounds && failed.lock().unwrap().is_empty() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    match catch_unwind(AssertUnwindSafe(|| kill_at_random(seed, &ledger))) {
                        Ok((killed, by_ledger, jumps)) => {
                            jumping.fetch_add(usize::from(jumps), Ordering::Relaxed);
                            kills.fetch_add(killed, Ordering::Relaxed);
                            decided.fetch_add(by_ledger, Ordering::Relaxed);
                            programs.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => failed.lock().unwrap().push(seed),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    report("random programs killed at random moments", kills.into_inner(), "kills and resumes", failed.len());
    report(
        "random programs replayed from their first to their last effect",
        programs.into_inner(),
        "programs",
        0,
    );
    report("programs whose clock was set ten days forth and back", jumping.into_inner(), "programs", 0);
    report("acts in doubt that the ledger decided about", decided.into_inner(), "acts", 0);
    let again = "run this test with MCRUN_ROUNDS=1 and MCRUN_SEED set to one of them";
    assert_eq!(failed, [0; 0], "seeds that did not end well; {again}");
}

#[test]
fn a_clock_that_is_set_back_makes_no_wait_longer() {
    let place = Place::within(in_memory());
    let script = place.script("sleep.lua", "for _ = 1, 200 do sleep(\"1ms\") end\n");
    let seen = place.start_with(&[&script], &[("MCRUN_CLOCK_JUMPS", "7")]).end();
    assert_eq!(seen.code, Some(0), "{seen}");
}

/// Carries one program through its kills to its end. How often it was killed, how often the ledger decided, and whether its
/// clock was set.
fn kill_at_random(seed: u64, ledger: &Ledger) -> (usize, usize, bool) {
    let place = Place::within(in_memory());
    std::fs::create_dir(place.at("out")).unwrap();
    let text = program(seed);
    let script = place.script("random.lua", &text);
    let page = ledger.page();
    let settings = [format!("out={}", place.at("out")), format!("url={}", page.url())];
    let settings = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
    let words: Vec<String> = [script, "--allow".into(), "*".into()].into_iter().chain(settings).collect();
    let mut carried = Carried::new(&place, &page, &words, "random.lua", false);
    let mut dice = Dice::new(!seed);
    // The clock of every fourth program is set ten days forth or back, again and again.
    carried.clock_jumps = (dice.roll(4) == 0).then_some(seed);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..MOST_KILLS {
            carried.attempt(&fate(&mut dice));
        }
        carried.finish();
    }));
    if let Err(failure) = ended {
        #[expect(clippy::disallowed_macros, reason = "what failed is shown with its seed")]
        {
            eprintln!("seed {seed}, after {} kills:\n{text}", carried.proof.kills);
        }
        std::panic::resume_unwind(failure);
    }
    (carried.proof.kills, carried.proof.decided, carried.clock_jumps.is_some())
}

fn fate(dice: &mut Dice) -> Fate {
    match dice.roll(10) {
        0..=4 => Fate::At((1 + dice.roll(24)).to_string()),
        5..=7 => {
            let point =
                dice.pick(&["begin:before-commit", "end:before-commit", "state:before-commit", "start"]);
            let nth = if point == "start" { 1 } else { 1 + dice.roll(5) };
            Fate::At(format!("{point}@{nth}+{}", 1 + dice.roll(8)))
        }
        _ => Fate::After(Duration::from_micros(5_000 + dice.roll(60_000))),
    }
}
