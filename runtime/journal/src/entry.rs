//! Owns the shapes of entries: what is written before and after an effect, and what is read back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::record::Write;

/// What makes an effect of a run the same effect when the run is replayed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The path of the branch, `deploy/mcq/parallel.api`; empty at the top.
    pub scope: String,
    /// The effect's number inside its scope.
    pub counter: u32,
    /// The operation, `containers.ensure`.
    pub name: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{} {}", self.scope, self.counter, self.name)
    }
}

/// Where in the sources an effect was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file, as the script's author names it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// How an effect relates to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Changes nothing.
    Read,
    /// Brings about a described state.
    Ensure,
    /// Does something once.
    Act,
    /// Waits for something.
    Wait,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Ensure => "ensure",
            Self::Act => "act",
            Self::Wait => "wait",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut known = [Self::Read, Self::Ensure, Self::Act, Self::Wait].into_iter();
        known.find(|kind| kind.as_str() == text).ok_or_else(|| format!("`{text}` is no kind of effect"))
    }
}

/// What is written before an effect acts.
#[derive(Debug, Clone, PartialEq)]
pub struct Begin {
    /// Which effect.
    pub identity: Identity,
    /// Its kind.
    pub kind: Kind,
    /// Its arguments as canonical JSON.
    pub arguments: Box<str>,
    /// The hash of the arguments.
    pub arguments_hash: [u8; 16],
    /// Where it was called.
    pub place: Option<Place>,
    /// What was there before, as JSON.
    pub before: Option<String>,
    /// What is going to change, as JSON.
    pub change: Option<String>,
    /// Until when it waits.
    pub until: Option<Timestamp>,
    /// The lease that it acts under: refused when that has passed to somebody else.
    pub fence: Option<Fence>,
}

/// One holding of a service's lease. A later one has a higher epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The node.
    pub node: String,
    /// The service.
    pub service: String,
    /// How often the lease had been taken.
    pub epoch: u64,
}

/// The answer to a begin. Of an effect that had begun already, everything is as first written.
#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    /// Whether this begin was the first of its identity.
    pub first: bool,
    /// When it first began.
    pub begun_at: Timestamp,
    /// What was there before.
    pub before: Option<String>,
    /// What was going to change.
    pub change: Option<String>,
    /// Until when it waits.
    pub until: Option<Timestamp>,
}

/// How an effect ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With this result, as JSON.
    Done(Box<str>),
    /// With this error, as JSON.
    Failed(Box<str>),
    /// Before it came to a result.
    Cancelled,
}

impl Outcome {
    /// The status of an entry that ended so.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Done(_) => Status::Done,
            Self::Failed(_) => Status::Failed,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// The result or error, as JSON.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Done(text) | Self::Failed(text) => Some(text),
            Self::Cancelled => None,
        }
    }
}

/// What is written after an effect. What its begin wrote stays; the same fields here serve the effects that end
/// without one (a read, an `ensure` that finds everything right).
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Which effect.
    pub identity: Identity,
    /// Its kind.
    pub kind: Kind,
    /// Its arguments as canonical JSON.
    pub arguments: Box<str>,
    /// The hash of the arguments.
    pub arguments_hash: [u8; 16],
    /// Where it was called.
    pub place: Option<Place>,
    /// What was there before, as JSON.
    pub before: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Records that change together with it.
    pub writes: Vec<Write>,
    /// The lease that the records are changed under.
    pub fence: Option<Fence>,
    /// Whether it changed something.
    pub changed: bool,
}

/// A finished checkpoint, whose entries need not be replayed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// The completed entry that opened it, and that a replay meets instead of all that follows in `inner`.
    pub opened: Identity,
    /// What that entry is said to have returned from now on, as JSON.
    pub result: Box<str>,
    /// The scope whose entries, and those beneath it, lie within.
    pub inner: String,
}

/// A completed entry as replay needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its place in the order of completion, from 1, without gaps.
    pub order: u64,
    /// Which effect.
    pub identity: Identity,
    /// Its kind.
    pub kind: Kind,
    /// The hash of its arguments.
    pub arguments_hash: [u8; 16],
    /// Where it was called.
    pub place: Option<Place>,
    /// How it ended.
    pub outcome: Outcome,
}

/// An effect of a later run, see [`crate::Journal::later_changes`].
#[derive(Debug, Clone, PartialEq)]
pub struct Later {
    /// Its run's id.
    pub run: String,
    /// Which effect.
    pub identity: Identity,
    /// Its arguments as canonical JSON.
    pub arguments: Box<str>,
}

/// An entry that has begun and not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// Which effect.
    pub identity: Identity,
    /// Its kind.
    pub kind: Kind,
    /// Its arguments as canonical JSON.
    pub arguments: Box<str>,
    /// The hash of its arguments.
    pub arguments_hash: [u8; 16],
    /// Where it was called.
    pub place: Option<Place>,
    /// What was there before.
    pub before: Option<String>,
    /// What was going to change.
    pub change: Option<String>,
    /// When it began.
    pub begun_at: Timestamp,
    /// Until when it waits.
    pub until: Option<Timestamp>,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Begun, not ended: under way, or in doubt when nobody holds the run.
    Begun,
    /// Ended with a result.
    Done,
    /// Ended with an error.
    Failed,
    /// Ended before it came to a result.
    Cancelled,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut known = [Self::Begun, Self::Done, Self::Failed, Self::Cancelled].into_iter();
        known
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no status of an entry"))
    }
}

/// An entry with everything that is stored about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the order of completion; none while it is begun.
    pub order: Option<u64>,
    /// Which effect.
    pub identity: Identity,
    /// Its kind.
    pub kind: Kind,
    /// Where it stands.
    pub status: Status,
    /// Its arguments as canonical JSON.
    pub arguments: Box<str>,
    /// The hash of its arguments.
    #[serde(serialize_with = "hexadecimal", deserialize_with = "from_hexadecimal")]
    pub arguments_hash: [u8; 16],
    /// Where it was called.
    pub place: Option<Place>,
    /// What was there before.
    pub before: Option<String>,
    /// What was going to change.
    pub change: Option<String>,
    /// Until when it waits.
    pub until: Option<Timestamp>,
    /// When it began, if it had a begin.
    pub begun_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its result or error, as JSON.
    pub result: Option<Box<str>>,
    /// Whether it changed something.
    pub changed: bool,
}

fn hexadecimal<S: Serializer>(hash: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{:032x}", u128::from_be_bytes(*hash)))
}

fn from_hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
    let text = String::deserialize(deserializer)?;
    u128::from_str_radix(&text, 16).map(u128::to_be_bytes).map_err(serde::de::Error::custom)
}
