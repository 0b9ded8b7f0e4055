//! Owns what is loaded at one moment. A table never changes: a change makes another one, which takes its place as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use effect::{Error, Timestamp};

use super::Definition;

/// Everything that is loaded, and what cannot be. Whoever needs it holds a `watch::Receiver<Arc<Table>>`.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The active version of each playbook, by name.
    pub playbooks: BTreeMap<String, Arc<Playbook>>,
    /// Files whose present text is not active, by path. A playbook that was loaded before stays in `playbooks`.
    pub broken: BTreeMap<PathBuf, Broken>,
}

/// One version of a playbook: with its modules all that a run of it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Playbook {
    /// What it says it is.
    pub definition: Definition,
    /// The hash of its source and its modules' sources, shown by its first twelve digits.
    pub version: String,
    /// Counts the versions that were active, from 1.
    pub number: u64,
    /// Its file.
    pub file: PathBuf,
    /// The folder that its modules come from.
    pub root: PathBuf,
    /// Its text.
    pub source: Arc<str>,
    /// The texts of its modules, by the name by which they are loaded.
    pub modules: BTreeMap<String, Arc<str>>,
    /// When this version became active.
    pub loaded: Timestamp,
}

/// A file that cannot be loaded as it is.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The playbook that is active in its place, if there is one.
    pub playbook: Option<String>,
    /// Why, with the place in its details.
    pub error: Error,
    /// Where the mistake is.
    pub line: Option<u32>,
    /// Since when.
    pub since: Timestamp,
}
