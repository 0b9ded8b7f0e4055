//! Owns going on with many runs in one process: some are active, each with a worker; those that wait for long take
//! nothing but a line here until their time has come.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use effect::session::Kept;
use effect::{Result, Session};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use journal::{Open, RunId, RunState, Timestamp};
use script::Template;

use super::freed::until_then;
use super::{Attempt, Finished, Job, PROGRAM, Signals, attempt, conclude_cancelled, past, recorded_job};
use crate::app::App;
use crate::render::Silent;

/// How often events are looked for.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// What one run has come to, for whoever watches them all.
pub(crate) struct Outcome {
    pub(crate) run: RunId,
    pub(crate) name: String,
    pub(crate) finished: Finished,
}

/// A run that waits without a worker.
struct Waiting {
    run: RunId,
    /// Its waits that may end before their time.
    events: Vec<Open>,
    /// When one of its waits ends by itself.
    until: Option<Timestamp>,
    kept: Kept,
}

/// What became of an active run.
enum Step {
    Over(Outcome),
    Waits(Waiting),
    /// Somebody else has it, or it was over already.
    Passed,
}

/// Many runs under way.
pub(crate) struct Many<'a> {
    app: &'a App,
    /// How many have a worker at once.
    most: usize,
    ready: VecDeque<(RunId, Kept)>,
    /// By the moment at which they go on, those without one last.
    waiting: BTreeMap<(Timestamp, RunId), Waiting>,
    /// The last event that was looked at, once one was.
    seen: Option<u64>,
}

type Active<'a> = Pin<Box<dyn Future<Output = Result<Step>> + 'a>>;

impl<'a> Many<'a> {
    /// Every run that can go on by itself: those that were never started, killed, or wait.
    pub(crate) async fn of(app: &'a App, most: usize) -> Result<Self> {
        const STATES: &[RunState] = &[RunState::Pending, RunState::Running, RunState::Waiting];
        let mut many = Self { app, most, ready: VecDeque::new(), waiting: BTreeMap::new(), seen: None };
        for (run, state) in app.journal.runs_in(STATES).await? {
            let open = match state {
                RunState::Waiting => app.journal.open_entries(&run).await?,
                _ => Vec::new(),
            };
            match open.is_empty() {
                true => many.ready.push_back((run, Kept::default())),
                false => many.wait(Waiting::new(run, open, Kept::default())),
            }
        }
        // What happened while nobody looked.
        many.take_events().await?;
        Ok(many)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.waiting.len()
    }

    fn wait(&mut self, waiting: Waiting) {
        let until = waiting.until.unwrap_or(Timestamp(i64::MAX));
        self.waiting.insert((until, waiting.run), waiting);
    }

    /// Goes on with all of them until each is over or paused, or somebody asks to stop; those that wait then go on
    /// waiting. `over` is told of each that has come to something.
    pub(crate) async fn run(mut self, mut over: impl FnMut(&Outcome)) -> Result<()> {
        if self.len() > 1 {
            match Template::start(PROGRAM.as_ref()).await {
                Ok(template) => drop(self.app.template.set(template)),
                Err(error) => {
                    tracing::debug!(%error, "every worker is started, because there is no template")
                }
            }
        }
        let mut active: FuturesUnordered<Active<'a>> = FuturesUnordered::new();
        let mut signals = Signals::open().ok();
        let mut stopping = false;
        loop {
            while !stopping
                && active.len() < self.most
                && let Some((run, kept)) = self.ready.pop_front()
            {
                active.push(Box::pin(go_on(self.app, run, kept)));
            }
            if active.is_empty() && (stopping || self.waiting.is_empty()) {
                return Ok(());
            }
            tokio::select! {
                Some(step) = active.next(), if !active.is_empty() => match step? {
                    Step::Over(outcome) => over(&outcome),
                    Step::Waits(waiting) => self.wait(waiting),
                    Step::Passed => {}
                },
                () = tokio::time::sleep(self.nap()), if !stopping && !self.waiting.is_empty() => {
                    self.take_due();
                    self.take_events().await?;
                }
                // Active runs hear the signal themselves.
                () = next(&mut signals), if !stopping => stopping = true,
            }
        }
    }

    fn nap(&self) -> Duration {
        let Some(((until, _), _)) = self.waiting.first_key_value() else { return BETWEEN_LOOKS };
        until_then(self.app.clock.now(), *until).min(BETWEEN_LOOKS)
    }

    fn take_due(&mut self) {
        let now = self.app.clock.now();
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            let due = first.remove();
            self.ready.push_back((due.run, due.kept));
        }
    }

    async fn take_events(&mut self) -> Result<()> {
        let last = self.app.journal.last_event().await?;
        if self.seen.replace(last) == Some(last) {
            return Ok(());
        }
        let mut due = Vec::new();
        for (key, waiting) in &self.waiting {
            if waiting.has_happened(self.app).await? {
                due.push(*key);
            }
        }
        for key in due {
            let waiting = self.waiting.remove(&key).expect("it was found above");
            self.ready.push_back((waiting.run, waiting.kept));
        }
        Ok(())
    }
}

async fn next(signals: &mut Option<Signals>) {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

impl Waiting {
    fn new(run: RunId, open: Vec<Open>, kept: Kept) -> Self {
        let until = open.iter().filter_map(|entry| entry.until).min();
        let events = open.into_iter().filter(system::event::is_wait_for).collect();
        Self { run, events, until, kept }
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

/// Goes on with one run until it is over or waits for long.
async fn go_on(app: &App, id: RunId, kept: Kept) -> Result<Step> {
    let _lock = match app.journal.lock_run(&id) {
        Ok(lock) => lock,
        Err(journal::Error::Locked { .. }) => return Ok(Step::Passed),
        Err(error) => return Err(error.into()),
    };
    let run = app.journal.run(id.as_str()).await?;
    if run.state.is_final() || run.state == RunState::Paused {
        return Ok(Step::Passed);
    }
    if run.cancel_requested {
        let finished = conclude_cancelled(app, &id).await?;
        return Ok(Step::Over(Outcome { run: id, name: run.name, finished }));
    }
    let mut job = Job { kept, ..recorded_job(app, &run).await? };
    // A fork that was never started has a history all the same.
    if run.state != RunState::Pending || run.effects > 0 {
        job.past = Some(past(app, &run).await?);
    }
    let watch = Arc::new(Silent { logs: false, sources: Mutex::default() });
    let begun = app.journal.set_state(&id, RunState::Running, None, None);
    Ok(match attempt(app, job, watch, begun).await? {
        Attempt::Over(finished) => Step::Over(Outcome { run: id, name: run.name, finished: *finished }),
        Attempt::Freed(session) => Step::Waits(waiting(app, id, &session).await?),
    })
}

async fn waiting(app: &App, id: RunId, session: &Session) -> Result<Waiting> {
    let open = app.journal.open_entries(&id).await?;
    let mut waiting = Waiting::new(id, open, session.keep());
    // Something has ended while the worker was being freed.
    if waiting.until.is_none() && waiting.events.is_empty() {
        waiting.until = Some(app.clock.now());
    }
    Ok(waiting)
}
