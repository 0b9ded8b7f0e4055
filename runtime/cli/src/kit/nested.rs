//! Owns the run or the plan of a whole script in the world of a test.

use std::path::PathBuf;
use std::sync::Arc;

use effect::policy::Grants;
use effect::{Code, Error, Mode, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Kit, Recorder, Seen};
use crate::commands::{Given, Params, adapted, script_job};
use crate::execute;

/// A script that a test runs.
#[derive(Debug, Clone)]
pub(super) struct Nested {
    pub(super) file: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) params: Value,
    pub(super) grants: Grants,
    /// What a playbook's `run` is told.
    pub(super) event: Option<Value>,
    pub(super) plan: bool,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Ended {
    /// The exit code that `mcrun` would end with.
    exit_code: u8,
    /// Whether anything was changed, or would be.
    changed: bool,
    /// Every effect, in the order of their ends; of a plan its steps.
    effects: Vec<Seen>,
    /// What it logged and printed, line by line.
    output: Vec<String>,
    /// The error that it ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// Why it failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Failure {
    /// The code.
    code: String,
    /// What it says.
    message: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

/// Runs the script to its end on a thread of its own: a run is bound to its thread, and the test's waits meanwhile.
pub(super) async fn run(kit: Arc<Kit>, nested: Nested) -> Result<Ended> {
    let failed = |what: &str| Error::new(Code::Internal, format!("a script in a test {what}"));
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("mcrun-nested".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let ended = match runtime {
                Ok(runtime) => runtime.block_on(execute(&kit, nested)),
                Err(error) => Err(failed("has no runtime").because(error)),
            };
            // The test may have been given up meanwhile.
            let _ = sender.send(ended);
        })
        .map_err(|error| failed("has no thread").because(error))?;
    receiver.await.map_err(|_| failed("ended without a word"))?
}

async fn execute(kit: &Arc<Kit>, nested: Nested) -> Result<Ended> {
    let app = kit.app()?;
    let mode = if nested.plan { Mode::Plan } else { Mode::Run };
    let mut job = script_job(&app, &nested.file, mode, nested.grants.clone())?;
    job.args = nested.args;
    let given = Given { params: Params::Values(&nested.params), grants: nested.grants, event: nested.event };
    let mut job = adapted(&app, job, given).await?;
    if job.cause.is_none() {
        job.params = nested.params;
    }
    let watch = Arc::new(Recorder::default());
    let (finished, effects) = if nested.plan {
        let (plan, finished) = execute::plan(&app, job, watch.clone()).await?;
        (finished, plan.steps.iter().map(Seen::planned).collect())
    } else {
        let lock = app.journal.lock_run(&job.id)?;
        let begun = execute::begin(&app, execute::new_run(&app, &job, &nested.file));
        let finished = execute::run(&app, job, watch.clone(), lock, begun).await?;
        (finished, watch.seen())
    };
    let error = finished.trouble.map(|trouble| Failure {
        code: trouble.error.code.to_string(),
        message: trouble.error.message,
        cause: trouble.error.cause,
    });
    let changed = effects.iter().any(|seen: &Seen| seen.changed);
    Ok(Ended { exit_code: finished.exit.code(), changed, effects, output: watch.messages(), error })
}
