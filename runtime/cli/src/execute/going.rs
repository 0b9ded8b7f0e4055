//! Owns one run's turn among many: whether it may go on at all, with what, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use daemon::runs::Wish;
use effect::session::{Kept, Patience};
use effect::{Code, Error, Result};
use journal::{Run, RunId, RunState, Timestamp};
use script::Interrupt;
use tokio::sync::watch;

use super::ear::{Asked, Ear, Why};
use super::freed::until_then;
use super::waiting::Waiting;
use super::{Attempt, Finished, Job, attempt, ending, past, record, recorded_job};
use crate::app::App;
use crate::commands::decisions;
use crate::exit::Exit;
use crate::render::Watch;

/// A run whose turn it is.
pub(super) struct Going {
    pub(super) run: RunId,
    pub(super) kept: Kept,
    pub(super) wish: Wish,
    /// Also when it is paused, because somebody wants it.
    pub(super) is_wanted: bool,
    /// Whether the disk was full when it went on last.
    pub(super) is_again: bool,
    pub(super) watch: Arc<dyn Watch>,
    /// Where it hears that it is to stop; the signals of this process where absent.
    pub(super) asked: Option<watch::Receiver<Asked>>,
}

/// What became of a run's turn.
pub(super) enum Step {
    /// It is over, paused, or was asked to stop; how it waits on where that was a wait.
    Over { name: String, finished: Finished, waiting: Option<Box<Waiting>> },
    /// It waits without a worker.
    Waits(Waiting),
    /// It is as it was recorded, and goes on later.
    Left(Finished),
    /// Nothing is to be done here; why, where somebody else has it.
    Passed(Option<Error>),
}

/// Goes on with a run until it is over or waits for long.
pub(super) async fn go_on(app: &App, going: Going) -> Result<Step> {
    let id = going.run;
    let _lock = match app.journal.lock_run(&id) {
        Ok(lock) => lock,
        Err(error @ journal::Error::Locked { .. }) => return Ok(Step::Passed(Some(error.into()))),
        Err(error) => return Err(error.into()),
    };
    let run = app.journal.run(id.as_str()).await?;
    if run.state.is_final() || run.imported || (run.state == RunState::Paused && !going.is_wanted) {
        return Ok(Step::Passed(None));
    }
    let over = |finished| Ok(Step::Over { name: run.name.clone(), finished, waiting: None });
    if run.cancel_requested {
        return over(record(app, &id, ending::cancelled()).await?);
    }
    let end = end(&run, app.clock.now());
    let asked = going.asked.as_ref().map_or(Asked::NOTHING, |asked| *asked.borrow());
    match (asked.level, asked.why) {
        (Interrupt::None, _) => {}
        // Nobody stopped it: the next process goes on with it.
        (_, Why::Leaving) => return Ok(Step::Left(Finished::ended(run.state, Exit::Waiting))),
        _ => {
            let finished = stopped_in_the_queue(app, &run).await?;
            return stopped(app, &run, finished, (going.kept, going.wish, end)).await;
        }
    }
    let left = end.map(|end| until_then(app.clock.now(), end));
    if left.is_some_and(|left| left.is_zero()) {
        return over(record(app, &id, ending::timed_out()).await?);
    }
    if going.is_again {
        // What could not be recorded then is forgotten, so that the run starts from what is. That fails while the disk is
        // still full, before anything is begun.
        app.journal.set_state(&id, RunState::Pending, None, None).await?;
    }
    let mut job = Job { kept: going.kept, ..recorded_job(app, &run).await? };
    // Runs of our own scripts have the state directory for a folder.
    if job.root != app.state {
        app.config.check_apart_from(&job.root)?;
    }
    job.asks = going.wish.asks;
    job.patience = patience(going.wish.patience);
    for limit in &going.wish.limits {
        job.limits.set(limit)?;
    }
    if going.wish.leave_plan && job.planned.take().is_some() {
        app.journal.release_plan(&id).await?;
    }
    // A fork that was never started has a history all the same, and so has one that met a full disk.
    let has_history = run.state != RunState::Pending || run.effects > 0;
    if has_history || !app.journal.open_entries(&id).await?.is_empty() {
        let mut past = past(app, &run).await?;
        // What was in doubt when they were said may have been settled by an attempt in between.
        past.decisions = decisions(&past.open, &going.wish.doubts).unwrap_or_default();
        job.past = Some(past);
    }
    let ear = match going.asked {
        Some(asked) => Ear::Desk { asked, left },
        None => Ear::Signals,
    };
    let begun = app.journal.set_state(&id, RunState::Running, None, None);
    Ok(match attempt(app, job, going.watch, ear, begun).await? {
        Attempt::Over(finished, kept) => stopped(app, &run, *finished, (kept, going.wish, end)).await?,
        Attempt::Left(finished) => Step::Left(*finished),
        Attempt::Freed(session) => {
            Step::Waits(Waiting::of(app, id, session.keep(), going.wish).await?.at_most(end))
        }
    })
}

/// What a run has come to that does nothing more: one that waited waits on with what it had, and no longer than before.
async fn stopped(
    app: &App,
    run: &Run,
    finished: Finished,
    (kept, wish, end): (Kept, Wish, Option<Timestamp>),
) -> Result<Step> {
    let waiting = match finished.state {
        RunState::Waiting => Some(Box::new(Waiting::of(app, run.id, kept, wish).await?.at_most(end))),
        _ => None,
    };
    Ok(Step::Over { name: run.name.clone(), finished, waiting })
}

/// Somebody stopped it before it had a worker.
async fn stopped_in_the_queue(app: &App, run: &Run) -> Result<Finished> {
    if run.state == RunState::Waiting {
        return Ok(Finished::ended(RunState::Waiting, Exit::Waiting));
    }
    record(app, &run.id, Finished::ended(RunState::Paused, Exit::Interrupted)).await
}

/// When the time of a playbook's run is up, counted from its first start.
pub(super) fn end(run: &Run, now: Timestamp) -> Option<Timestamp> {
    let millis = run.cause.as_ref()?.get(TIMEOUT)?.as_u64()?;
    Some(run.started.unwrap_or(now).after(Duration::from_millis(millis)))
}

/// The field of a recorded cause that tells how long the run may take, in milliseconds.
pub(super) const TIMEOUT: &str = "timeout";

/// So long that it means: as long as it takes.
pub(crate) const ENDLESS: Duration = Duration::from_secs(100 * 365 * 86_400);

pub(super) fn patience(wait: Option<Duration>) -> Patience {
    match wait {
        None => Patience::None,
        Some(wait) if wait >= ENDLESS => Patience::Endless,
        Some(wait) => Patience::For(wait),
    }
}

/// An error as what a run has come to.
pub(super) fn broken(error: Error) -> Finished {
    let exit = match Exit::of(&error) {
        Exit::Waiting => Exit::Failed,
        exit => exit,
    };
    Finished { exit, ..Finished::paused(super::Trouble::new(error)) }
}

/// Whether what failed may go well a little later, without anybody's doing.
pub(super) fn passes(app: &App, error: &Error) -> bool {
    !app.journal.broken() && matches!(error.code, Code::DiskFull | Code::JournalBroken | Code::StateUnusable)
}
