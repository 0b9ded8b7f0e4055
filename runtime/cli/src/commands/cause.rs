//! Owns what is shown of why a run was started.

use daemon::runs::{By, Cause};
use journal::Run;
use serde_json::Value;

use crate::render::printable;

fn read(run: &Run) -> Option<Cause> {
    serde_json::from_value(run.cause.clone()?).ok()
}

/// In a few words; none where somebody simply ran a script.
pub(super) fn short(run: &Run) -> String {
    let words = match read(run).map(|cause| cause.by) {
        None => return String::new(),
        Some(By::Caller { caller }) => caller,
        Some(By::Trigger { trigger, .. }) => trigger,
        Some(By::Daemon { why }) => why,
    };
    printable(&words)
}

/// As lines: who or what made it start, and what it was told.
pub(super) fn lines(run: &Run) -> Vec<String> {
    let Some(cause) = read(run) else { return Vec::new() };
    let by = match &cause.by {
        By::Caller { caller } => format!("started by {caller}"),
        By::Trigger { trigger, occurrence } => format!("started by {trigger}, occurrence {occurrence}"),
        By::Daemon { why } => format!("started by the daemon, to {why}"),
    };
    let told = (!cause.event.is_null()).then(|| format!("told     {}", shown(&cause.event)));
    std::iter::once(format!("cause    {}", printable(&by))).chain(told).collect()
}

fn shown(event: &Value) -> String {
    const LONGEST: usize = 500;
    let text = printable(&event.to_string());
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
