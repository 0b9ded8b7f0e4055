//! Owns `undo`: a script that ships, through the same corridor as every other, so that it is planned, journaled and
//! resumed like one.

use std::path::Path;

use effect::policy::Grants;
use effect::session::Patience;
use effect::{Code, Error, Mode, Result};
use journal::{Run, RunState};

use super::evaluate::{self, Job};
use super::history::check_own;
use super::services::confirm;
use crate::app::App;
use crate::exit::Exit;
use crate::{audit, render};

const SCRIPT: &str = include_str!("undo.luau");

/// What the command line says of an undo.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// Also what later runs have changed again.
    pub(super) force: bool,
    /// Only show it.
    pub(super) plan: bool,
    pub(super) json: bool,
    /// What is granted and refused beyond what the run had.
    pub(super) more: Grants,
    pub(super) patience: Patience,
}

pub(super) async fn undo(app: &App, prefix: &str, wish: Wish) -> Result<Exit> {
    let run = app.journal.run(prefix).await?;
    // Held to the end, so that nobody goes on with what is being taken back.
    let lock = app.journal.lock_run(&run.id)?;
    let run = app.journal.run(run.id.as_str()).await?;
    let job = |mode| {
        let job = undo_job(app, &run, (wish.force, &wish.more), mode)?;
        Ok::<_, Error>(Job { patience: wish.patience, ..job })
    };
    if wish.plan || !wish.json {
        let shown = evaluate::show_plan(app, job(Mode::Plan)?, wish.json, false).await?;
        if wish.plan || shown != Exit::Done {
            return Ok(shown);
        }
        confirm(app, &format!("Undo run {} ({})?", run.id, run.name))?;
    } else if !app.global.yes {
        return Err(Error::new(Code::Usage, "not confirmed").hint("say `--yes`, or `--plan` to look first"));
    }
    let job = job(Mode::Run)?;
    audit::tell(app, "runs.undo", &run);
    render::note("");
    let name = job.name.clone();
    let ended = evaluate::start(app, job, Path::new(&name), wish.json).await;
    drop(lock);
    ended
}

/// The script that takes back what a run changed.
pub(crate) fn undo_job(app: &App, run: &Run, (force, more): (bool, &Grants), mode: Mode) -> Result<Job> {
    check_own(run)?;
    check_over(run)?;
    let mut words = vec![run.id.to_string()];
    words.extend(force.then(|| "force".to_owned()));
    let name = format!("undo {}", run.id);
    // Relative paths mean what they meant.
    let root = Path::new(&run.root);
    let root = if root.is_dir() { root } else { &app.state }.to_owned();
    Ok(Job { mode, root, ..evaluate::shipped_job(app, &name, SCRIPT, words, grants(run, more))? })
}

/// What the run was granted, what the operator adds, and a look at what it did.
fn grants(run: &Run, more: &Grants) -> Grants {
    let mut grants: Grants = serde_json::from_value(run.grants.clone()).unwrap_or_default();
    grants.allow.extend(more.allow.iter().cloned());
    grants.deny.extend(more.deny.iter().cloned());
    grants.within.extend(more.within.iter().cloned());
    grants.allow.push(format!("runs:read:{}", run.id));
    grants
}

/// A run that may still go on is not taken back beneath its feet.
fn check_over(run: &Run) -> Result<()> {
    match run.state {
        RunState::Done | RunState::Failed | RunState::Cancelled => Ok(()),
        RunState::Pending | RunState::Running | RunState::Waiting | RunState::Paused => {
            let error = Error::new(Code::RunState, format!("run {} is {} and may go on", run.id, run.state));
            Err(error.hint(format!("give it up first: `mcrun cancel {}`", run.id)))
        }
    }
}
