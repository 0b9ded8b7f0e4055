//! Owns what is known of one file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::playbooks::Definition;
use crate::playbooks::claims::Claim;
use crate::playbooks::loader::Mistake;
use crate::playbooks::look::{Changed, Inputs, Print};
use crate::playbooks::table::Playbook;

/// What the present text of a file says.
#[derive(Debug, Default)]
pub(super) enum Present {
    /// It was not read yet.
    #[default]
    Unknown,
    /// What is active.
    Active,
    /// Something that is not active yet.
    Fresh(Box<Fresh>),
    /// Nothing that can be loaded.
    Broken(Box<(Mistake, Print)>),
}

/// What was read and is not active yet.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) definition: Definition,
    pub(super) version: String,
    pub(super) root: PathBuf,
    pub(super) source: Arc<str>,
    pub(super) modules: BTreeMap<String, Arc<str>>,
}

/// What is known of a file.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) present: Present,
    pub(super) active: Option<Arc<Playbook>>,
    /// Whether it is recorded that another program has read it.
    pub(super) is_of_other: bool,
    pub(super) inputs: Option<Arc<Inputs>>,
    /// The text that is being read.
    pub(super) reading: Option<Print>,
    /// What it holds by now, while something else is being read.
    pub(super) next: Option<Changed>,
    /// Since when it waits for whoever writes to it.
    pub(super) waits: Option<Instant>,
    /// Since when it is missing, where it may have been moved to another that is being read.
    pub(super) missing: Option<Instant>,
}

impl File {
    pub(super) fn claim(&self) -> Claim {
        let name = |playbook: &Arc<Playbook>| playbook.definition.name.clone();
        let wants = match &self.present {
            Present::Active => self.active.as_ref().map(name),
            Present::Fresh(fresh) => Some(fresh.definition.name.clone()),
            Present::Unknown | Present::Broken(_) => None,
        };
        Claim { wants, holds: self.active.as_ref().map(name), is_missing: self.missing.is_some() }
    }

    /// Whether it is not known yet what it holds by now.
    pub(super) fn is_open(&self) -> bool {
        self.reading.is_some() || self.next.is_some() || self.waits.is_some()
    }

    /// Whether it goes on waiting, for at most `most`.
    pub(super) fn waits(&mut self, now: Instant, most: Duration) -> bool {
        let since = *self.waits.get_or_insert(now);
        let waits = now < since + most;
        if !waits {
            self.waits = None;
        }
        waits
    }
}
