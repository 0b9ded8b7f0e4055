//! Owns `cancel`: a run is given up wherever it is.

use effect::{Code, Error, Result};
use journal::{Run, RunState};

use super::history::check_own;
use super::runs::is_resumable;
use crate::app::App;
use crate::exit::Exit;
use crate::{audit, execute, handover, render};

pub(super) async fn cancel(app: &App, prefix: &str) -> Result<Exit> {
    let run = app.journal.run(prefix).await?;
    check_own(&run)?;
    check_goes_on(&run)?;
    let is_given_up = match handover::daemon(app).await? {
        // It has the run in a queue perhaps, and tells those who follow it.
        Some(daemon) => {
            daemon.cancel(&run.id).await?;
            app.journal.run(run.id.as_str()).await?.state == RunState::Cancelled
        }
        None => give_up(app, &run).await?,
    };
    if is_given_up {
        render::note(format_args!("run {} is cancelled", run.id));
        return Ok(Exit::Done);
    }
    if let Some(holder) = app.journal.holder_of_run(&run.id)
        && app.journal.holder_of_daemon().is_none_or(|daemon| daemon.pid != holder.pid)
    {
        signal(holder.pid)?;
    }
    render::note(format_args!("run {} stops at its next effect", run.id));
    Ok(Exit::Done)
}

/// Gives up a run that nobody executes. Tells whether it was one.
async fn give_up(app: &App, run: &Run) -> Result<bool> {
    audit::tell(app, "runs.cancel", run);
    app.journal.request_cancel(&run.id).await?;
    let Ok(_lock) = app.journal.lock_run(&run.id) else { return Ok(false) };
    // Read again under the lock: its former holder may have come to an end meanwhile.
    check_goes_on(&app.journal.run(run.id.as_str()).await?)?;
    execute::give_up(app, &run.id).await?;
    Ok(true)
}

fn check_goes_on(run: &Run) -> Result<()> {
    if is_resumable(run) {
        return Ok(());
    }
    Err(Error::new(Code::RunState, format!("run {} is already {}", run.id, run.state)))
}

fn signal(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let Some(pid) = pid else { return Ok(()) };
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        .map_err(|error| Error::new(Code::RunState, "the run's process cannot be signalled").because(error))
}
