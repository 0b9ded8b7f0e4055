//! Owns runs that wait for long: they take nothing but a line here until their time has come or what they wait for has
//! happened.

use std::collections::BTreeMap;
use std::time::Duration;

use daemon::runs::Wish;
use effect::session::Kept;
use effect::{Result, Session};
use journal::{Open, RunId, Timestamp};

use super::freed::until_then;
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
    pub(super) fn new(run: RunId, open: Vec<Open>) -> Self {
        let until = open.iter().filter_map(|entry| entry.until).min();
        let events = open.into_iter().filter(system::event::is_wait_for).collect();
        Self { run, events, until, kept: Kept::default(), wish: Wish::default() }
    }

    /// One whose worker was freed.
    pub(super) async fn freed(app: &App, session: &Session) -> Result<Self> {
        let open = app.journal.open_entries(session.run_id()).await?;
        let mut waiting = Self { kept: session.keep(), ..Self::new(*session.run_id(), open) };
        // Something has ended while the worker was being freed.
        if waiting.until.is_none() && waiting.events.is_empty() {
            waiting.until = Some(app.clock.now());
        }
        Ok(waiting)
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
            if system::event::has_happened(&app.journal, &self.run, entry).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
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
