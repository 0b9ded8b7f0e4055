//! Owns reading mcrun.toml again while the daemon runs: as a whole, or not at all. What can change at once does; what
//! cannot is named, and goes on as it was when the daemon started.

use std::sync::Arc;

use effect::{Principal, Result};
use journal::audit::{Kind, New};
use serde_json::json;
use toml::{Table, Value};

use crate::app::App;
use crate::config::Config;
use crate::logs;

/// What changes at once: sections, or parts of them.
const LIVE: [&str; 9] = [
    "access",
    "daemon.api.operators",
    "daemon.api.readers",
    "daemon.log",
    "monitors",
    "playbooks",
    "policy",
    "retention",
    "secrets",
];
/// Of more keys than this a warning only tells how many there are.
const MOST_NAMED: usize = 20;

/// Reads mcrun.toml again and tells whoever follows it. The keys whose change takes effect after a restart are returned.
///
/// # Errors
/// Where the file is wrong: then everything stays as it is.
pub(crate) fn reload(app: &App) -> Result<Vec<String>> {
    let read = take_over(app);
    let outcome = if read.is_ok() { "taken over" } else { "refused" };
    let file = app.config.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    let mut record = New::of(Kind::Policy, &Principal::Daemon.to_string(), "daemon.reload", &file, outcome);
    match &read {
        // Not what it says: a hash tells whether two are the same.
        Ok(_) => {
            let table = app.live().table.to_string();
            record = record.with(json!({ "version": blake3::hash(table.as_bytes()).to_hex()[..16] }));
        }
        Err(error) => record = record.with(json!({ "why": error.code.as_str() })),
    }
    drop(app.journal.audit(record));
    read
}

fn take_over(app: &App) -> Result<Vec<String>> {
    // One that was taken away is no reason to go on without a policy.
    let named = app.config.file.as_deref().or(app.global.config.as_deref());
    let config = Config::load(named)?;
    logs::choose(config.daemon.log)?;
    let later = later(&app.config.table, &config.table);
    app.live.send_replace(Arc::new(config));
    if !later.is_empty() {
        let shown = later.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = later.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        tracing::warn!(keys = %shown, "changed in mcrun.toml, takes effect after a restart: {shown}{more}");
    }
    Ok(later)
}

/// The keys that differ between both and cannot change at once.
fn later(started: &Table, now: &Table) -> Vec<String> {
    let mut changed = Vec::new();
    differences("", started, now, &mut changed);
    changed.retain(|key| !LIVE.iter().any(|live| is_beneath(key, live)));
    changed
}

fn is_beneath(key: &str, live: &str) -> bool {
    key.strip_prefix(live).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn differences(above: &str, one: &Table, other: &Table, changed: &mut Vec<String>) {
    let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        let empty = Table::new();
        match (one.get(key), other.get(key)) {
            (Some(Value::Table(one)), Some(Value::Table(other))) => differences(&path, one, other, changed),
            (Some(Value::Table(one)), None) => differences(&path, one, &empty, changed),
            (None, Some(Value::Table(other))) => differences(&path, &empty, other, changed),
            (one, other) if one != other => changed.push(path),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_restart_is_named_by_its_keys() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let started = table(
            "[node]\nname = \"a\"\n[policy]\nscripts = []\n[daemon]\nlog = \"text\"\n[routes.api]\nsocket = \"/a\"",
        );
        assert_eq!(later(&started, &started), Vec::<String>::new());
        let now = table(
            "[node]\nname = \"b\"\n[daemon]\nlog = \"json\"\n[daemon.metrics]\nlisten = \"[::1]:0\"\n[routes]\naddresses = []\n\
             [secrets.\"a/b\"]\nenv = \"X\"\n[monitors]\nevery = \"1s\"",
        );
        let named = ["daemon.metrics.listen", "node.name", "routes.addresses", "routes.api.socket"];
        assert_eq!(later(&started, &now), named);
    }
}
