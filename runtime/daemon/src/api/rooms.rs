//! Owns what calls need of rooms that others fill in.

use async_trait::async_trait;
use effect::{Result, Timestamp};
use journal::RunId;
use serde_json::Value;

use crate::playbooks::Playbook;

/// Checks what a playbook is told.
pub trait Parameters: Send + Sync {
    /// `given`, a JSON object, with every default filled in.
    ///
    /// # Errors
    /// Where a parameter is missing, unknown, or has a value that it does not take.
    fn check(&self, playbook: &Playbook, given: Value) -> Result<Value>;
}

/// A time at which a trigger goes off, or went off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// The playbook.
    pub playbook: String,
    /// `cron 17 3 * * *`.
    pub trigger: String,
    /// When it is due, or was.
    pub at: Timestamp,
    /// `due`, `started`, `queued`, `skipped`, `missed`.
    pub outcome: &'static str,
    /// The run that it started.
    pub run: Option<RunId>,
    /// Why it was skipped.
    pub reason: Option<String>,
}

/// When playbooks start by themselves.
#[async_trait]
pub trait Schedule: Send + Sync {
    /// The next times of each trigger, of `playbook` or of all, the soonest first; at most `each` of one trigger.
    ///
    /// # Errors
    /// Where a time cannot be told.
    async fn next(&self, playbook: Option<&str>, each: usize) -> Result<Vec<Occurrence>>;

    /// What went off or was missed, the last first; at most `most`.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    async fn last(&self, playbook: Option<&str>, most: usize) -> Result<Vec<Occurrence>>;
}

/// A version of a playbook that is or was active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Counts the versions, from 1.
    pub number: u64,
    /// The hash of its sources.
    pub version: String,
    /// Its file.
    pub file: String,
    /// When it became active.
    pub loaded: Timestamp,
}

/// What playbooks were.
#[async_trait]
pub trait Versions: Send + Sync {
    /// At most `most` versions of a playbook, the newest first, of those with numbers below `below`. None where there never
    /// was such a playbook.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    async fn list(&self, playbook: &str, below: Option<u64>, most: usize) -> Result<Vec<Version>>;

    /// The sources of a version by their names, the playbook's own first; nothing where there never was such a version.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    async fn sources(&self, playbook: &str, number: u64) -> Result<Option<Vec<(String, String)>>>;
}

/// Reads the configuration again.
#[async_trait]
pub trait Reload: Send + Sync {
    /// Keys that were changed and count only after a restart.
    ///
    /// # Errors
    /// Where the configuration is wrong; the one before stays.
    async fn reload(&self) -> Result<Vec<String>>;
}
