//! Owns `apply`: a saved plan is made once more, compared with what was saved, and carried out as it was shown.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use effect::plan::Plan;
use effect::saved::Saved;
use effect::session::{Kept, Patience, take_lease};
use effect::{Code, Error, Mode, Result};
use journal::{RunId, RunState};
use serde_json::json;

use super::evaluate::{Beginning, follow};
use super::plan_file::Frozen;
use crate::app::App;
use crate::execute::{self, Finished, Planned};
use crate::exit::Exit;
use crate::render::{self, Silent};

pub(super) async fn apply(app: &App, file: &Path, patience: Patience, as_json: bool) -> Result<Exit> {
    let frozen = Frozen::read(app, file)?;
    check_untaken(app, &frozen.id).await?;
    let changed = frozen.changed_files();
    if !changed.is_empty() {
        render::note(format_args!(
            "changed since the plan was made, and applied as planned: {}",
            changed.join(", ")
        ));
    }
    let id = app.journal.next_id()?;
    let lock = app.journal.lock_run(&id)?;
    // Held while the plan is made again and to the end of the run: nothing moves in between that takes its turn.
    let leases = leases(app, &frozen, &id, patience).await?;
    let watch = Arc::new(Silent { logs: false, sources: Mutex::default() });
    let (plan, finished) = execute::plan(app, frozen.job(id, Mode::Plan), watch).await?;
    let moved = moved(app, &frozen, &plan, &finished);
    if !moved.is_empty() {
        return refuse(&frozen, &plan, moved, as_json);
    }
    let mut job = frozen.job(id, Mode::Run);
    job.patience = patience;
    job.planned = Some(Planned { name: frozen.id.to_string(), steps: frozen.steps.clone() });
    job.kept = leases;
    let new = execute::new_run(app, &job, &frozen.script);
    let started = crate::audit::started(&new);
    match app.journal.create_audited_run(new, started).await {
        // Another apply was faster.
        Err(journal::Error::Conflict { .. }) => check_untaken(app, &frozen.id).await?,
        begun => begun?,
    }
    follow(app, job, lock, Beginning::Made, as_json).await
}

async fn check_untaken(app: &App, plan: &RunId) -> Result<()> {
    let Some(taker) = app.journal.taker_of_plan(plan.as_str()).await? else { return Ok(()) };
    let error = Error::new(Code::PlanTaken, format!("plan {plan} was applied as run {taker}"));
    // The run may have been removed since; the plan stays taken.
    let Ok(run) = app.journal.run(taker.as_str()).await else { return Err(error) };
    Err(match run.state {
        RunState::Done => error.because("that run is done"),
        RunState::Failed | RunState::Cancelled => error.because(format!("that run is {}", run.state)),
        state => error
            .because(format!("that run is {state} and can go on"))
            .hint(format!("`mcrun resume {taker}` goes on with it")),
    })
}

/// In the order of their names, so that two plans never wait for one another.
async fn leases(app: &App, frozen: &Frozen, run: &RunId, patience: Patience) -> Result<Kept> {
    let why = format!("applies plan {}", frozen.id);
    let mut leases = HashMap::new();
    for service in frozen.steps.services() {
        let waits = |error: &Error| render::waits(&error.message);
        let lease = take_lease(&app.journal, (&app.node, service), (run, &why), patience, waits).await?;
        leases.insert(service.to_owned(), lease);
    }
    Ok(leases.into())
}

fn moved(app: &App, frozen: &Frozen, plan: &Plan, finished: &Finished) -> Vec<String> {
    let mut moved = frozen.moved(app);
    moved.extend(frozen.steps.moved(&Saved::of(plan)));
    if let (true, Some(trouble)) = (moved.is_empty(), &finished.trouble) {
        moved.push(format!("the script would fail now: {}", trouble.error));
    }
    moved
}

/// Shows what the script would do now and why the saved plan does not count any more.
fn refuse(frozen: &Frozen, plan: &Plan, moved: Vec<String>, as_json: bool) -> Result<Exit> {
    let made = render::rfc3339(frozen.made);
    let mut error =
        Error::new(Code::PlanStale, format!("plan {} of {made} is stale: nothing was done", frozen.id))
            .hint(format!("make a new one: `mcrun plan {} --out PLAN`", frozen.script.display()));
    error.details = moved;
    if as_json {
        render::json(&json!({
            "plan": frozen.id,
            "state": "stale",
            "exit_code": Exit::of(&error).code(),
            "error": error,
        }));
        return Ok(Exit::of(&error));
    }
    render::plan(plan, "now");
    Err(error)
}
