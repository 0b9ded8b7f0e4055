//! Random runs that crash at random moments: what was answered is there afterwards, and nothing is there that was not
//! asked for.

use std::collections::BTreeMap;

use journal::{Journal, RunId};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::{add_run, begin, completed, crashed_copy, end, open_lazy};

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin { run: usize, counter: u32 },
    End { run: usize, counter: u32, now: bool },
    Barrier,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..2_usize, 0..12_u32).prop_map(|(run, counter)| Step::Begin { run, counter }),
        6 => (0..2_usize, 0..12_u32, prop::bool::weighted(0.2))
            .prop_map(|(run, counter, now)| Step::End { run, counter, now }),
        1 => Just(Step::Barrier),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a run must look like: the befores of its open entries, and the completed entries in order.
#[derive(Debug, Clone, Default, PartialEq)]
struct Expected {
    open: BTreeMap<u32, String>,
    completed: Vec<u32>,
}

struct World {
    folder: TempDir,
    journal: Journal,
    ids: Vec<RunId>,
    /// With everything that was asked for.
    asked: Vec<Expected>,
    /// With everything that was answered.
    durable: Vec<Expected>,
    /// Makes every `before` its own.
    attempts: u32,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = open_lazy(folder.path());
        let ids = vec![add_run(&journal).await, add_run(&journal).await];
        let nothing = vec![Expected::default(); 2];
        Self { folder, journal, ids, asked: nothing.clone(), durable: nothing, attempts: 0 }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Begin { run, counter } if !self.asked[run].completed.contains(&counter) => {
                self.begin(run, counter).await;
            }
            Step::End { run, counter, now } if !self.asked[run].completed.contains(&counter) => {
                self.asked[run].open.remove(&counter);
                self.asked[run].completed.push(counter);
                if now {
                    self.journal.end_now(&self.ids[run], end(counter)).await.unwrap();
                    self.durable = self.asked.clone();
                } else {
                    drop(self.journal.end(&self.ids[run], end(counter)));
                }
            }
            Step::Begin { .. } | Step::End { .. } => {}
            Step::Barrier => {
                self.journal.barrier().await.unwrap();
                self.durable = self.asked.clone();
            }
            Step::Crash => self.crash().await,
        }
    }

    async fn begin(&mut self, run: usize, counter: u32) {
        self.attempts += 1;
        let mut begin = begin(counter);
        let before = format!("before attempt {}", self.attempts);
        begin.before = Some(before.clone());
        let begun = self.journal.begin(&self.ids[run], begin).await.unwrap();
        let first = !self.asked[run].open.contains_key(&counter);
        let kept = self.asked[run].open.entry(counter).or_insert(before);
        assert_eq!((begun.first, begun.before.as_ref()), (first, Some(&*kept)));
        self.durable = self.asked.clone();
    }

    async fn crash(&mut self) {
        let folder = crashed_copy(self.folder.path());
        self.journal = open_lazy(folder.path());
        self.folder = folder;
        self.asked = self.durable.clone();
        for (id, expected) in self.ids.iter().zip(&self.durable) {
            let open = self.journal.open_entries(id).await.unwrap();
            let open = open.into_iter().map(|open| (open.identity.counter, open.before.unwrap())).collect();
            let found = Expected { open, completed: completed(&self.journal, id).await };
            assert_eq!(&found, expected);
            let effects = self.journal.run(id.as_str()).await.unwrap().effects;
            assert_eq!(effects, expected.completed.len() as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_leaves_what_was_answered_and_nothing_else(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.take(step).await;
            }
            world.crash().await;
        });
    }
}
