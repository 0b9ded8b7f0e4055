//! Owns what the executor does beside its runs for those who ask it: making runs of services' operations and of undoing,
//! which takes what only this process holds, and the words about a run's end.

use std::path::Path;

use daemon::runs::{Cause, End};
use effect::policy::Grants;
use effect::{Mode, Result};
use journal::{NewCause, RunId, RunLock};
use tokio::sync::oneshot;

use super::desk::told;
use super::{Finished, Job, Trouble, new_run};
use crate::app::App;
use crate::audit;
use crate::commands::{operation_job, undo_job};

/// What came of an errand.
#[derive(Default)]
pub(super) struct Errand {
    /// A run that was recorded and is to be executed.
    pub(super) queued: Option<RunId>,
    /// The run that it takes back.
    pub(super) undone: Option<RunLock>,
}

async fn recorded(app: &App, job: Job) -> Result<RunId> {
    let name = job.name.clone();
    let new = new_run(app, &job, Path::new(&name));
    let started = audit::started(&new);
    app.journal.create_audited_run(new, started).await?;
    Ok(job.id)
}

/// Tells whoever asked, and has the run queued.
fn told_of(run: Result<RunId>, reply: oneshot::Sender<Result<RunId>>, undone: Option<RunLock>) -> Errand {
    let queued = run.as_ref().ok().copied();
    // The run is recorded, whether anybody waits for its name or not.
    let _ = reply.send(run);
    Errand { queued, undone }
}

pub(super) async fn undo(
    app: &App,
    run: RunId,
    (force, more, cause): (bool, Grants, Cause),
    reply: oneshot::Sender<Result<RunId>>,
) -> Errand {
    let made = async {
        // Held to the end, so that nobody goes on with what is being taken back.
        let lock = app.journal.lock_run(&run)?;
        let undone = app.journal.run(run.as_str()).await?;
        let mut job = undo_job(app, &undone, (force, &more), Mode::Run)?;
        job.cause = Some(NewCause { playbook: None, told: told(&cause), writes: Vec::new() });
        Ok((recorded(app, job).await?, lock))
    };
    match made.await {
        Ok((run, lock)) => told_of(Ok(run), reply, Some(lock)),
        Err(error) => told_of(Err(error), reply, None),
    }
}

pub(super) async fn operate(
    app: &App,
    operation: String,
    service: String,
    cause: Cause,
    reply: oneshot::Sender<Result<RunId>>,
) -> Errand {
    let made = async {
        let mut job = operation_job(app, &operation, &service).await?;
        job.grants.within.extend(cause.within.clone());
        job.cause = Some(NewCause { playbook: None, told: told(&cause), writes: Vec::new() });
        recorded(app, job).await
    };
    told_of(made.await, reply, None)
}

/// What those are told who watch a run: what it has come to, or what is recorded of its end, if anything.
pub(super) async fn end(app: &App, run: &RunId, finished: Option<&Finished>) -> Option<End> {
    let recorded = app.journal.run(run.as_str()).await;
    let mut run = match recorded {
        Ok(run) => run,
        Err(error) => {
            tracing::warn!(%run, %error, "nobody can be told what a run has come to");
            return None;
        }
    };
    match finished {
        Some(finished) => {
            run.state = finished.state;
            let trouble = finished.trouble.as_ref().map(Trouble::to_json);
            Some(End { run, exit_code: finished.exit.code(), trouble })
        }
        None => {
            let exit_code = run.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or_default();
            Some(End { exit_code, trouble: run.outcome.clone(), run })
        }
    }
}
