//! Owns that a run which fails while nobody watches is told of.

use effect::Result;
use journal::{Journal, Run, RunState};
use serde_json::{Value, json};

use crate::metrics::Metrics;

/// Tells that a run has failed or paused. Whoever executes it says so when it comes to that, and nobody watches it.
///
/// # Errors
/// Where the journal does not take it.
pub async fn failed(journal: &Journal, metrics: &Metrics, run: &Run) -> Result<()> {
    if !matches!(run.state, RunState::Failed | RunState::Paused) {
        return Ok(());
    }
    let error = run.outcome.as_ref().and_then(|outcome| outcome.get("error"));
    let part = |name: &str| error.and_then(|error| error.get(name)).cloned().unwrap_or(Value::Null);
    let data = json!({
        "run": run.id,
        "name": run.name,
        "playbook": run.playbook,
        "state": run.state.as_str(),
        "code": part("code"),
        "message": part("message"),
    });
    journal.emit("run.failed", &data.to_string()).await?;
    metrics.event("run.failed");
    Ok(())
}
