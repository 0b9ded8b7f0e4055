//! Owns how runs are recorded, and how a recorded one is gone on with.

use std::collections::HashMap;
use std::path::Path;

use effect::session::{Decisions, Kept, Patience};
use effect::{Code, Error, Mode, Result};
use journal::{NewCause, NewPlan, NewRun, Run, RunState};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Job, Past, Planned};
use crate::app::App;
use crate::audit;

/// A new run as it is recorded.
pub(crate) fn new_run(app: &App, job: &Job, script: &Path) -> NewRun {
    NewRun {
        id: job.id,
        name: job.name.clone(),
        script: script.display().to_string(),
        args: job.args.clone(),
        params: job.params.clone(),
        grants: json!(job.grants),
        limits: json!(job.limits),
        seed: job.seed,
        node: app.node.clone(),
        source: job.source.clone(),
        root: job.root.display().to_string(),
        modules: job.sources.clone().into_iter().collect(),
        plan: job
            .planned
            .as_ref()
            .map(|planned| NewPlan { name: planned.name.clone(), steps: json!(planned.steps).to_string() }),
        cause: job.cause.clone(),
    }
}

/// Records a new run that is under way, in one commit.
pub(crate) async fn begin(app: &App, new: NewRun) -> journal::Result<()> {
    let (id, started) = (new.id, audit::started(&new));
    let (created, running) = tokio::join!(
        app.journal.create_audited_run(new, started),
        app.journal.set_state(&id, RunState::Running, None, None)
    );
    created.and(running)
}

/// What is needed to go on with a recorded run.
pub(crate) async fn past(app: &App, run: &Run) -> Result<Past> {
    const PAGE: usize = 1000;
    let mut logged: HashMap<String, u64> = HashMap::new();
    let mut after = 0;
    loop {
        let lines = app.journal.logs(&run.id, after, PAGE).await?;
        for entry in &lines {
            let last = logged.entry(entry.line.scope.clone()).or_default();
            *last = (*last).max(entry.line.number);
            after = entry.order;
        }
        if lines.len() < PAGE {
            break;
        }
    }
    Ok(Past {
        open: app.journal.open_entries(&run.id).await?,
        decisions: Decisions::default(),
        logged,
        generation: run.forgotten,
    })
}

/// A recorded run as it is to go on, with its sources and the saved plan that it carries out.
pub(crate) async fn recorded_job(app: &App, run: &Run) -> Result<Job> {
    let broken = |error: serde_json::Error| {
        Error::new(Code::JournalBroken, format!("run {} cannot be decoded", run.id)).because(error)
    };
    let steps = app.journal.planned(&run.id).await?;
    let steps = steps.map(|text| serde_json::from_str(&text)).transpose().map_err(broken)?;
    let name = run.plan.clone().unwrap_or_default();
    Ok(Job {
        id: run.id,
        name: run.name.clone(),
        root: run.root.clone().into(),
        source: run.source.to_string(),
        args: run.args.clone(),
        params: run.params.clone(),
        limits: serde_json::from_value(run.limits.clone()).map_err(broken)?,
        grants: serde_json::from_value(run.grants.clone()).map_err(broken)?,
        seed: run.seed,
        mode: Mode::Run,
        asks: false,
        patience: Patience::None,
        sources: app.journal.sources(&run.id).await?.into_iter().collect(),
        planned: steps.map(|steps| Planned { name, steps }),
        cause: run.cause.clone().map(|told| NewCause {
            playbook: run.playbook.clone(),
            told,
            writes: Vec::new(),
        }),
        kept: Kept::default(),
        raised: Vec::new(),
        past: None,
    })
}

/// What the playbook's `run` is called with; nothing where the run is one of a script.
pub(crate) fn event_of(cause: &NewCause) -> Result<Option<Box<RawValue>>> {
    if cause.playbook.is_none() {
        return Ok(None);
    }
    let event = match &cause.told["event"] {
        event @ Value::Object(_) => event.to_string(),
        _ => json!({ "kind": "manual" }).to_string(),
    };
    let encoded = RawValue::from_string(event);
    encoded
        .map(Some)
        .map_err(|error| Error::new(Code::Internal, "the event cannot be encoded").because(error))
}

/// The seed of a run's random numbers: different for every run, the same for every replay.
pub(crate) fn seed(id: &str) -> u64 {
    id.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
