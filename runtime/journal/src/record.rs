//! Owns records: what runs leave behind beyond their entries (the registry, allocated ports, releases).

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::RunId;

/// A value kept under kind, node and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The family it belongs to, `service`, `port`, `release`.
    pub kind: String,
    /// The node it is about.
    pub node: String,
    /// Its name, unique inside kind and node.
    pub name: String,
    /// What is recorded, as JSON.
    pub value: String,
    /// The run that wrote it, if one did.
    pub run: Option<RunId>,
    /// When it was written.
    pub at: Timestamp,
}

/// A change of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The record's kind.
    pub kind: String,
    /// The record's node.
    pub node: String,
    /// The record's name.
    pub name: String,
    /// The new value as JSON; none removes the record.
    pub value: Option<String>,
    /// What must hold for the change to be made.
    pub expect: Expect,
}

/// What a write expects to find. The writes of one request are checked against what was there before all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Expect {
    /// Whatever is there.
    #[default]
    Any,
    /// No record.
    Absent,
    /// A record.
    Present,
    /// A record with exactly this value.
    Value(Box<str>),
}

/// What is looked for among the records of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// The record with this name.
    One {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Records whose names begin so.
    Beneath {
        /// Their kind.
        kind: String,
        /// The beginning; nothing for every name.
        prefix: String,
    },
}
