//! Owns runs that wait for long: they take nothing but a line here until their time has come or what they wait for has
//! happened.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use daemon::runs::Wish;
use effect::Result;
use effect::session::Kept;
use journal::{Open, Run, RunId, Timestamp};
use system::approvals;

use super::freed::until_then;
use super::{going, wished};
use crate::app::App;

/// How often events are looked for.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// A run that waits without a worker.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) run: RunId,
    /// Its waits that may end before their time.
    events: Vec<Open>,
    /// When one of its waits ends by itself, or its time is up.
    until: Option<Timestamp>,
    pub(super) kept: Kept,
    /// How it is gone on with.
    pub(super) wish: Wish,
}

impl Waiting {
    /// One that waits as it is recorded, with what it had.
    pub(super) async fn of(app: &App, run: RunId, kept: Kept, wish: Wish) -> Result<Self> {
        let open = app.journal.open_entries(&run).await?;
        let until = open.iter().filter_map(|entry| entry.until).min();
        let ends_early = |entry: &Open| system::event::is_wait_for(entry) || approvals::is_approve(entry);
        let events: Vec<Open> = open.into_iter().filter(ends_early).collect();
        // Where nothing is waited for, something has ended meanwhile.
        let until = until.or_else(|| events.is_empty().then(|| app.clock.now()));
        // A decision is about what was in doubt then.
        let wish = Wish { doubts: Vec::new(), ..wish };
        Ok(Self { run, events, until, kept, wish })
    }

    /// One that nobody goes on with: the process that did has ended.
    pub(super) async fn found(app: &App, run: &Run) -> Result<Self> {
        let kept = held(app, &run.id).await;
        let waiting = Self::of(app, run.id, kept, wished::of(run)).await?;
        let waiting = waiting.at_most(going::end(run, app.clock.now()));
        // Nobody may have been there to be told.
        Ok(waiting.at_most(run.cancel_requested.then(|| app.clock.now())))
    }

    /// The same, but no longer than until its time is up.
    pub(super) fn at_most(mut self, end: Option<Timestamp>) -> Self {
        self.until = match (self.until, end) {
            (Some(until), Some(end)) => Some(until.min(end)),
            (until, end) => until.or(end),
        };
        self
    }

    async fn has_happened(&self, app: &App) -> Result<bool> {
        for entry in &self.events {
            // Whatever is decided is told as an event.
            let has_happened = match approvals::is_approve(entry) {
                true => approvals::has_happened(&app.journal, &app.node, &self.run, entry).await?,
                false => system::event::has_happened(&app.journal, &self.run, entry).await?,
            };
            if has_happened {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Takes again what a run held when its former process ended, before anybody else changes that: what it did is not over.
pub(super) async fn held(app: &App, run: &RunId) -> Kept {
    let mut leases = HashMap::new();
    let held = app.journal.held(run).await.unwrap_or_else(|error| {
        tracing::warn!(%run, %error, "it is not known which services a run holds");
        Vec::new()
    });
    for (node, service) in held {
        if node != app.node {
            continue;
        }
        match app.journal.lease(&node, &service, run, "goes on with what it did").await {
            Ok(lease) => drop(leases.insert(service, lease)),
            // It tries that again when its turn comes.
            Err(error) => tracing::warn!(%run, service, %error, "a run does not hold its service meanwhile"),
        }
    }
    Kept::from(leases)
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// By the moment at which they go on, those without one last.
    by_time: BTreeMap<(Timestamp, RunId), Waiting>,
    /// The last event that was looked at, once one was.
    seen: Option<u64>,
}

impl Waits {
    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }

    pub(super) fn put(&mut self, waiting: Waiting) {
        let until = waiting.until.unwrap_or(Timestamp(i64::MAX));
        self.by_time.insert((until, waiting.run), waiting);
    }

    /// Takes one out before its time.
    pub(super) fn take(&mut self, run: &RunId) -> Option<Waiting> {
        let key = *self.by_time.keys().find(|(_, other)| other == run)?;
        self.by_time.remove(&key)
    }

    /// How long nothing can come of looking.
    pub(super) fn nap(&self, app: &App) -> Duration {
        let Some(((until, _), _)) = self.by_time.first_key_value() else { return BETWEEN_LOOKS };
        until_then(app.clock.now(), *until).min(BETWEEN_LOOKS)
    }

    /// Those whose time has come or whose event has happened.
    pub(super) async fn due(&mut self, app: &App) -> Result<Vec<Waiting>> {
        let now = app.clock.now();
        let mut due = Vec::new();
        while let Some(first) = self.by_time.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due.extend(self.told(app).await?);
        Ok(due)
    }

    /// Those whose event has happened.
    async fn told(&mut self, app: &App) -> Result<Vec<Waiting>> {
        let last = app.journal.last_event().await?;
        if self.seen.replace(last) == Some(last) {
            return Ok(Vec::new());
        }
        let mut due = Vec::new();
        for (key, waiting) in &self.by_time {
            if waiting.has_happened(app).await? {
                due.push(*key);
            }
        }
        Ok(due.iter().filter_map(|key| self.by_time.remove(key)).collect())
    }
}
