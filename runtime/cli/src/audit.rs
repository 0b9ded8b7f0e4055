//! Owns what the command line puts into the audit, and in whose name: what it does itself is done by the user who runs it.

use daemon::runs::{By, Cause};
use effect::Principal;
use journal::NewRun;
use journal::audit::{Kind, New};
use serde_json::{Value, json};

use crate::app::App;

/// Who runs this program.
pub(crate) fn user() -> Principal {
    let user = rustix::process::getuid();
    Principal::User { name: daemon::socket::user_name(user.as_raw()), is_owner: true }
}

/// What is recorded together with a new run: who started it, and why.
pub(crate) fn started(new: &NewRun) -> New {
    let told = new.cause.as_ref().map(|cause| cause.told.clone());
    let cause = told.and_then(|told| serde_json::from_value::<Cause>(told).ok());
    let (principal, details) = match cause.map(|cause| cause.by) {
        None => (user().to_string(), Value::Null),
        Some(By::Caller { caller }) => (caller, Value::Null),
        Some(By::Trigger { trigger, .. }) => (Principal::Daemon.to_string(), json!({ "trigger": trigger })),
        Some(By::Daemon { why }) => (Principal::Daemon.to_string(), json!({ "why": why })),
    };
    let record = New::of(Kind::Run, &principal, "runs.start", &object(new), "recorded").about(new.id);
    if details.is_null() { record } else { record.with(details) }
}

fn object(new: &NewRun) -> String {
    match new.cause.as_ref().and_then(|cause| cause.playbook.as_ref()) {
        Some(playbook) => format!("{playbook}/{}", new.id),
        None => format!("script:{}/{}", new.name, new.id),
    }
}

/// Records what this command does to a run by itself. Where a daemon does it, that records it.
pub(crate) fn tell(app: &App, action: &str, run: &journal::Run) {
    if app.journal.holder_of_daemon().is_some() {
        return;
    }
    let object = daemon::api::object_of(run);
    let record = New::of(Kind::Run, &user().to_string(), action, &object, "allowed").about(run.id);
    // It joins the commit of what it tells of.
    drop(app.journal.audit(record));
}
