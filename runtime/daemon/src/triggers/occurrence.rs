//! Owns occurrences as they are recorded: what went off, when, and what became of it.

use std::cmp::Reverse;

use effect::{Code, Error, Result, Timestamp};
use journal::{Expect, Journal, Record, RunId, Write};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The kind of their records.
pub const KIND: &str = "occurrence";
/// The kind of the records that say how far a trigger is accounted for.
pub(super) const KIND_OF_TRIGGERS: &str = "trigger";
/// How many of a trigger are kept.
pub(super) const KEPT: usize = 50;
/// How long they are kept.
pub(super) const KEPT_MILLIS: i64 = 90 * 86_400_000;

/// Something that went off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Occurrence {
    /// The playbook.
    pub playbook: String,
    /// Its trigger, as people are shown it.
    pub trigger: String,
    /// When it was due, or happened.
    pub at: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, unless it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many missed times before it it stands for.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub missed: u64,
    /// What the playbook will be told, while it waits.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub event: Value,
    /// Its run.
    #[serde(skip)]
    pub run: Option<RunId>,
    /// When this became of it.
    #[serde(skip)]
    pub since: Timestamp,
}

fn is_nothing(count: &u64) -> bool {
    *count == 0
}

/// What became of an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has a run.
    Started,
    /// It waits for the run before it.
    Queued,
    /// It has none, by a rule of its playbook or because it could not be started.
    Skipped,
    /// It has none, because nobody could start it in time.
    Missed,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Queued => "queued",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
        }
    }
}

impl Occurrence {
    pub(super) fn read(record: &Record) -> Result<Self> {
        let mut found: Self = serde_json::from_str(&record.value).map_err(|error| {
            Error::new(Code::JournalBroken, format!("the occurrence `{}` cannot be decoded", record.name))
                .because(error)
        })?;
        (found.run, found.since) = (record.run, record.at);
        Ok(found)
    }

    pub(super) fn value(&self) -> String {
        serde_json::to_string(self).expect("an occurrence is plain data")
    }

    /// The record of it under a name.
    pub(super) fn write(&self, node: &str, name: &str, expect: Expect) -> Write {
        write(KIND, node, name, Some(self.value()), expect)
    }
}

pub(super) fn write(kind: &str, node: &str, name: &str, value: Option<String>, expect: Expect) -> Write {
    Write { kind: kind.to_owned(), node: node.to_owned(), name: name.to_owned(), value, expect }
}

/// The record of a start by somebody, to be written together with the run. `unique` tells it from others.
#[must_use]
pub fn manual(node: &str, playbook: &str, caller: &str, at: Timestamp, unique: &str) -> Write {
    let occurrence = Occurrence {
        playbook: playbook.to_owned(),
        trigger: "manual".to_owned(),
        at,
        outcome: Outcome::Started,
        reason: Some(caller.to_owned()),
        missed: 0,
        event: Value::Null,
        run: None,
        since: at,
    };
    let name = format!("{}{:014}-{unique}", by_hand(playbook), at.0);
    occurrence.write(node, &name, Expect::Absent)
}

/// The beginning of the names of the starts of a playbook by somebody; behind it they are sorted by their time.
pub(super) fn by_hand(playbook: &str) -> String {
    format!("{playbook}/manual/")
}

/// Whether an occurrence of this name is a start by somebody.
pub(super) fn is_by_hand(name: &str) -> bool {
    name.split('/').nth(1) == Some("manual")
}

/// The last occurrences, of one playbook or of all, the newest first.
///
/// # Errors
/// Where the journal cannot be read.
pub async fn last(
    journal: &Journal,
    node: &str,
    playbook: Option<&str>,
    limit: usize,
) -> Result<Vec<Occurrence>> {
    let prefix = playbook.map(|playbook| format!("{playbook}/")).unwrap_or_default();
    let look = journal::Look::Beneath { kind: KIND.to_owned(), prefix };
    let found = journal.look(node, vec![look]).await?;
    let mut found = found.iter().flatten().map(Occurrence::read).collect::<Result<Vec<_>>>()?;
    found.sort_by_key(|one| Reverse((one.since, one.at)));
    found.truncate(limit);
    Ok(found)
}
