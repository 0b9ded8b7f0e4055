//! Owns what is asked of a journal on a disk, and what must be found of it afterwards: the state after one of the requests
//! from the last acknowledged one on. Requests are committed in their order, in groups that are whole or not there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use journal::{End, Error, Expect, Journal, Outcome, RunId, RunState, Write};

use crate::image::Dice;
use crate::support::{begin, end, new_run, open, open_lazy};

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Held {
    created: bool,
    state: Option<RunState>,
    /// The begun entries with their first `before`.
    open: BTreeMap<u32, String>,
    /// The completed entries with the length of their result.
    completed: Vec<(u32, usize)>,
    record: Option<String>,
}

/// What is known: what was held after every request, and how many of them are acknowledged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    states: Vec<Held>,
    acknowledged: usize,
}

impl Known {
    /// What may be found now.
    pub(crate) fn allowed(&self) -> &[Held] {
        &self.states[self.acknowledged..]
    }
}

impl Known {
    /// The run may have been paused after any of its states.
    pub(crate) fn may_pause(&mut self) {
        let states = self.allowed().to_vec();
        let paused = states.into_iter().filter(|held| held.created);
        self.states.extend(paused.map(|held| Held { state: Some(RunState::Paused), ..held }));
    }
}

pub(crate) type Shared = Arc<Mutex<Known>>;

/// One run's work on a journal.
pub(crate) struct Work {
    pub(crate) known: Shared,
    pub(crate) run: Option<RunId>,
    /// Where the run's id is written as soon as there is one.
    pub(crate) on_run: Option<Arc<Mutex<Option<RunId>>>>,
    /// Stays open when a step has failed.
    pub(crate) journal: Option<Journal>,
    now: Held,
    dice: Dice,
    next: u32,
    /// The most kilobytes of a result.
    large: u64,
}

impl Work {
    pub(crate) fn new(seed: u64, large: u64) -> Self {
        let known = Known { states: vec![Held::default()], acknowledged: 0 };
        let (known, dice) = (Arc::new(Mutex::new(known)), Dice(seed));
        Self { known, run: None, on_run: None, journal: None, now: Held::default(), dice, next: 0, large }
    }

    /// Opens the journal, makes a run and takes `steps` at it; stops at the first error.
    pub(crate) async fn perform(&mut self, folder: &Path, steps: usize) -> Result<(), Error> {
        let journal = Journal::open_with(
            folder,
            Arc::new(crate::support::Counting::default()),
            journal::Options { group_delay: crate::support::NEVER },
        )?;
        self.journal = Some(journal.clone());
        let new = new_run(&journal);
        let run = new.id;
        self.run = Some(run);
        if let Some(on_run) = &self.on_run {
            *on_run.lock().unwrap() = Some(run);
        }
        self.asked(|held| (held.created, held.state) = (true, Some(RunState::Pending)));
        journal.create_run(new).await?;
        self.acknowledged();
        for _ in 0..steps {
            self.step(&journal, &run).await?;
        }
        Ok(())
    }

    async fn step(&mut self, journal: &Journal, run: &RunId) -> Result<(), Error> {
        match self.dice.roll(8) {
            0..=2 => {
                self.next += 1;
                let counter = self.next;
                let mut wanted = begin(counter);
                let before = format!("before {counter}");
                wanted.before = Some(before.clone());
                self.asked(|held| _ = held.open.insert(counter, before));
                journal.begin(run, wanted).await?;
            }
            choice @ 3..=5 => {
                let counter = self.now.open.keys().next_back().copied().unwrap_or_else(|| {
                    self.next += 1;
                    self.next
                });
                let length = usize::try_from(self.dice.roll(self.large * 1024)).unwrap() + 2;
                let text = format!("\"{}\"", "x".repeat(length - 2));
                let mut wanted = End { outcome: Outcome::Done(text.into()), ..end(counter) };
                let value = (choice == 4).then(|| format!("\"{counter}\""));
                if let Some(value) = &value {
                    wanted.writes = vec![record(value)];
                }
                self.asked(|held| {
                    held.open.remove(&counter);
                    held.completed.push((counter, length));
                    held.record = value.or(held.record.take());
                });
                if choice == 5 {
                    drop(journal.end(run, wanted));
                    return Ok(());
                }
                journal.end_now(run, wanted).await?;
            }
            6 => {
                let state = if self.dice.roll(2) == 0 { RunState::Running } else { RunState::Waiting };
                self.asked(|held| held.state = Some(state));
                journal.set_state(run, state, None, None).await?;
            }
            _ => journal.barrier().await?,
        }
        self.acknowledged();
        Ok(())
    }

    fn asked(&mut self, change: impl FnOnce(&mut Held)) {
        change(&mut self.now);
        self.known.lock().unwrap().states.push(self.now.clone());
    }

    fn acknowledged(&self) {
        let mut known = self.known.lock().unwrap();
        known.acknowledged = known.states.len() - 1;
    }
}

fn record(value: &str) -> Write {
    Write {
        kind: "port".into(),
        node: "rift".into(),
        name: "web".into(),
        value: Some(value.to_owned()),
        expect: Expect::Any,
    }
}

/// Opens what is in a folder with the journal's own code, checks that it is one of `allowed`, and goes on with the run.
pub(crate) async fn check(folder: &Path, run: Option<RunId>, allowed: &[Held]) {
    let journal = open(folder);
    let found = held(&journal, run).await;
    assert!(allowed.contains(&found), "found {found:#?}\nallowed are {allowed:#?}");
    drop(journal);
    if !found.created {
        return;
    }
    let run = run.unwrap();
    let journal = open_lazy(folder);
    let next = 1 + found
        .completed
        .iter()
        .map(|(counter, _)| *counter)
        .chain(found.open.keys().copied())
        .max()
        .unwrap_or(0);
    assert!(journal.begin(&run, begin(next)).await.unwrap().first);
    journal.end_now(&run, end(next)).await.unwrap();
    for (&counter, before) in &found.open {
        let again = journal.begin(&run, begin(counter)).await.unwrap();
        assert_eq!((again.first, again.before.as_ref()), (false, Some(before)), "the first `before` is kept");
    }
    journal.set_state(&run, RunState::Done, None, Some(0)).await.unwrap();
    drop(journal);
    let after = held(&open(folder), Some(run)).await;
    assert_eq!(after.completed.len(), found.completed.len() + 1, "the run goes on");
    assert_eq!(after.completed.last(), Some(&(next, next.to_string().len())));
}

async fn held(journal: &Journal, run: Option<RunId>) -> Held {
    let Some(run) = run else { return Held::default() };
    let known = match journal.run(run.as_str()).await {
        Ok(known) => known,
        Err(Error::UnknownRun { .. }) => return Held::default(),
        Err(error) => panic!("{error}"),
    };
    let mut history: Vec<journal::Recorded> = Vec::new();
    loop {
        let page = journal.history(&run, history.len() as u64, usize::MAX).await.unwrap();
        if page.is_empty() {
            break;
        }
        history.extend(page);
    }
    let open = journal.open_entries(&run).await.unwrap();
    let length = |outcome: &Outcome| outcome.text().map_or(0, str::len);
    Held {
        created: true,
        state: Some(known.state),
        open: open.into_iter().map(|open| (open.identity.counter, open.before.unwrap())).collect(),
        completed: history.iter().map(|item| (item.identity.counter, length(&item.outcome))).collect(),
        record: journal.record("port", "rift", "web").await.unwrap().map(|record| record.value),
    }
}
