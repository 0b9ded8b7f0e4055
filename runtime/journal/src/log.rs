//! Owns the lines of a run's log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::entry::Place;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For whoever looks into the script.
    Debug,
    /// What `print` and `log.info` say.
    Info,
    /// Something to look at.
    Warn,
    /// Something went wrong.
    Error,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut known = [Self::Debug, Self::Info, Self::Warn, Self::Error].into_iter();
        known.find(|level| level.as_str() == text).ok_or_else(|| format!("`{text}` is no log level"))
    }
}

/// A line that a script logs. Scope and number name it: a replay logs it again and it is stored once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The branch that logs.
    pub scope: String,
    /// The line's number in its branch.
    pub number: u64,
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// Its fields, as JSON.
    pub fields: Option<String>,
    /// When it was logged.
    pub at: Timestamp,
    /// Where it was logged.
    pub place: Option<Place>,
}

/// A stored line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Its place in the run's log, from 1.
    pub order: u64,
    /// The line.
    #[serde(flatten)]
    pub line: LogLine,
}
