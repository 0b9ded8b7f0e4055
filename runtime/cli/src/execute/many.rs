//! Owns going on with many runs in one process: some are active, each with a worker; those that wait for long take
//! nothing but a line here until their time has come.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use daemon::runs::Wish;
use effect::Result;
use effect::session::Kept;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use journal::{RunId, RunState};
use script::Template;

use super::ear::Signals;
use super::going::{Going, Step, go_on};
use super::waiting::{Waiting, Waits};
use super::{Finished, PROGRAM};
use crate::app::App;
use crate::render::Silent;

/// The states of runs that go on by themselves.
pub(crate) const BY_THEMSELVES: &[RunState] = &[RunState::Pending, RunState::Running, RunState::Waiting];

/// What one run has come to, for whoever watches them all.
pub(crate) struct Outcome {
    pub(crate) run: RunId,
    pub(crate) name: String,
    pub(crate) finished: Finished,
}

/// Many runs under way.
pub(crate) struct Many<'a> {
    app: &'a App,
    /// How many have a worker at once.
    most: usize,
    ready: VecDeque<(RunId, Kept)>,
    waits: Waits,
}

type Active<'a> = Pin<Box<dyn Future<Output = (RunId, Result<Step>)> + 'a>>;

impl<'a> Many<'a> {
    /// Every run that can go on by itself: those that were never started, killed, or wait.
    pub(crate) async fn of(app: &'a App, most: usize) -> Result<Self> {
        let mut many = Self { app, most, ready: VecDeque::new(), waits: Waits::default() };
        for (run, state) in app.journal.runs_in(BY_THEMSELVES).await? {
            match state {
                RunState::Waiting => {
                    let run = app.journal.run(run.as_str()).await?;
                    many.waits.put(Waiting::found(app, &run).await?);
                }
                _ => many.ready.push_back((run, Kept::default())),
            }
        }
        // What happened while nobody looked.
        many.take_due().await?;
        Ok(many)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.waits.len()
    }

    /// Goes on with all of them until each is over or paused, or somebody asks to stop; those that wait then go on
    /// waiting. `over` is told of each that has come to something.
    pub(crate) async fn run(mut self, mut over: impl FnMut(&Outcome)) -> Result<()> {
        if self.len() > 1 {
            prepare_copies(self.app).await;
        }
        let mut active: FuturesUnordered<Active<'a>> = FuturesUnordered::new();
        let mut signals = Signals::open().ok();
        let mut stopping = false;
        loop {
            while !stopping
                && active.len() < self.most
                && let Some((run, kept)) = self.ready.pop_front()
            {
                active.push(Box::pin(turn(self.app, run, kept)));
            }
            if active.is_empty() && (stopping || self.waits.is_empty()) {
                return Ok(());
            }
            tokio::select! {
                Some((run, step)) = active.next(), if !active.is_empty() => match step? {
                    Step::Over { name, finished, .. } => over(&Outcome { run, name, finished }),
                    Step::Waits(waiting) => self.waits.put(waiting),
                    Step::Left(_) | Step::Passed(_) => {}
                },
                () = tokio::time::sleep(self.waits.nap(self.app)), if !stopping && !self.waits.is_empty() => {
                    self.take_due().await?;
                }
                // Active runs hear the signal themselves.
                () = next(&mut signals), if !stopping => stopping = true,
            }
        }
    }

    async fn take_due(&mut self) -> Result<()> {
        let due = self.waits.due(self.app).await?;
        self.ready.extend(due.into_iter().map(|due| (due.run, due.kept)));
        Ok(())
    }
}

async fn turn(app: &App, run: RunId, kept: Kept) -> (RunId, Result<Step>) {
    let watch = Arc::new(Silent { logs: false, sources: Mutex::default() });
    let going =
        Going { run, kept, wish: Wish::default(), is_wanted: false, is_again: false, watch, asked: None };
    (run, go_on(app, going).await)
}

/// Has workers copied from one that is ready from now on, where that can be done.
pub(super) async fn prepare_copies(app: &App) {
    if app.template.get().is_some() {
        return;
    }
    match Template::start(PROGRAM.as_ref()).await {
        Ok(template) => drop(app.template.set(template)),
        Err(error) => tracing::debug!(%error, "every worker is started, because there is no template"),
    }
}

async fn next(signals: &mut Option<Signals>) {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}
