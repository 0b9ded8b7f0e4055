//! Owns `resume`: what a run needs to go on, and the operator's words on what is in doubt.

use effect::session::{Decision, Decisions, Patience};
use effect::{Code, Error, Result};
use journal::{Run, RunState};

use super::evaluate::{Beginning, follow};
use super::history::{check_not_undone, check_own, cut, cut_refused};
use crate::app::App;
use crate::arguments::{Doubt, DoubtWord};
use crate::exit::Exit;
use crate::{audit, execute};

/// What `resume` is asked for.
pub(super) struct Wish<'a> {
    pub(super) doubts: &'a [Doubt],
    /// The step from which on its history is forgotten.
    pub(super) from: Option<&'a str>,
    pub(super) limits: &'a [String],
    /// Go on without the saved plan.
    pub(super) leave_plan: bool,
    pub(super) patience: Patience,
    pub(super) json: bool,
}

pub(super) async fn resume(app: &App, prefix: &str, wish: Wish<'_>) -> Result<Exit> {
    let run = app.journal.run(prefix).await?;
    let lock = app.journal.lock_run(&run.id)?;
    // Read again under the lock: its former holder may have gone on meanwhile.
    let run = app.journal.run(run.id.as_str()).await?;
    check_own(&run)?;
    let run = match wish.from {
        Some(step) => forget_from(app, &run, step).await?,
        None => run,
    };
    check_resumable(&run)?;
    let mut past = execute::past(app, &run).await?;
    past.decisions = decided(&past.open, wish.doubts)?;
    let mut job = execute::recorded_job(app, &run).await?;
    for limit in wish.limits {
        job.limits.set(limit)?;
    }
    job.raised = wish.limits.to_vec();
    job.past = Some(past);
    job.patience = wish.patience;
    app.config.check_apart_from(&job.root)?;
    if run.cancel_requested {
        app.journal.set_state(&run.id, RunState::Cancelled, None, Some(Exit::Failed.code().into())).await?;
        return Err(Error::new(Code::Cancelled, format!("run {} was cancelled", run.id)));
    }
    audit::tell(app, "runs.resume", &run);
    if wish.leave_plan {
        app.journal.release_plan(&run.id).await?;
        job.planned = None;
    }
    follow(app, job, lock, Beginning::Recorded, wish.json).await
}

/// Forgets what a run did from a step on. Whatever state it is in, it is to go on from there.
async fn forget_from(app: &App, run: &Run, step: &str) -> Result<Run> {
    check_not_undone(app, run).await?;
    let cut = cut(app, run, step).await?;
    cut.confirm(app, step)?;
    app.journal.forget(&run.id, cut.after).await.map_err(|error| cut_refused(error, step))?;
    app.journal.set_state(&run.id, RunState::Paused, None, None).await?;
    Ok(app.journal.run(run.id.as_str()).await?)
}

/// The operator's words as another process told them: the effect, `deploy/web#3`, and what became of it.
pub(crate) fn decisions(open: &[journal::Open], told: &[(Option<String>, String)]) -> Result<Decisions> {
    let doubts = told.iter().map(|(effect, word)| {
        let text = match effect {
            Some(effect) => format!("{effect}={word}"),
            None => word.clone(),
        };
        text.parse().map_err(|why: String| Error::new(Code::Usage, why))
    });
    decided(open, &doubts.collect::<Result<Vec<Doubt>>>()?)
}

/// The operator's words, each on an act that is in doubt.
fn decided(open: &[journal::Open], doubts: &[Doubt]) -> Result<Decisions> {
    let acts: Vec<&journal::Identity> =
        open.iter().filter(|entry| entry.kind == journal::Kind::Act).map(|entry| &entry.identity).collect();
    let wrong = |message: String| {
        let mut error = Error::new(Code::Usage, message);
        error.details = acts.iter().map(|identity| format!("in doubt: {identity}")).collect();
        error
    };
    let mut decisions = Decisions::default();
    for doubt in doubts {
        let decision = match doubt.word {
            DoubtWord::Redo => Decision::Redo,
            DoubtWord::Done => Decision::Done,
            DoubtWord::Fail => Decision::Fail,
        };
        match &doubt.identity {
            Some((scope, counter)) => {
                if !acts.iter().any(|identity| identity.scope == *scope && identity.counter == *counter) {
                    return Err(wrong(format!("`{scope}#{counter}` is not in doubt")));
                }
                decisions.named.insert((scope.clone(), *counter), decision);
            }
            None if acts.is_empty() => return Err(wrong("nothing is in doubt in this run".into())),
            None if acts.len() > 1 => {
                return Err(
                    wrong("several acts are in doubt".into()).hint("say for each: `--doubt SCOPE#N=redo`")
                );
            }
            None => decisions.only = Some(decision),
        }
    }
    Ok(decisions)
}

/// Refuses a run that is over.
pub(crate) fn check_resumable(run: &Run) -> Result<()> {
    match run.state {
        RunState::Pending | RunState::Running | RunState::Waiting | RunState::Paused => Ok(()),
        RunState::Done | RunState::Failed | RunState::Cancelled => Err(Error::new(
            Code::RunState,
            format!("run {} is {}, there is nothing to resume", run.id, run.state),
        )
        .hint("run the script again: finished `ensure` effects find nothing to do; or go back to a step with `--from`")),
    }
}
