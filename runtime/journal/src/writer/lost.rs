//! Owns the memory of ends that could not be committed. Their script has gone on with results that no replay would
//! see, so the run must not act any further: it can record those ends after all, or stop and be resumed.

use std::collections::{HashMap, HashSet};

use crate::entry::Identity;
use crate::error::{Error, Result};
use crate::id::RunId;

/// The ends that were lost, by run.
#[derive(Default)]
pub(super) struct Lost {
    runs: HashMap<RunId, (Error, HashSet<Identity>)>,
}

impl Lost {
    /// Remembers that an end was lost to `error`.
    pub(super) fn add(&mut self, run: RunId, identity: &Identity, error: &Error) {
        let (_, identities) = self.runs.entry(run).or_insert_with(|| (error.clone(), HashSet::new()));
        identities.insert(identity.clone());
    }

    /// Refuses what must not happen while an end of `run` is lost.
    pub(super) fn check(&self, run: &RunId) -> Result<()> {
        self.runs
            .get(run)
            .map_or(Ok(()), |(error, _)| Err(Error::EndLost { run: *run, cause: Box::new(error.clone()) }))
    }

    /// Refuses an end that is not itself one of the lost.
    pub(super) fn check_end(&self, run: &RunId, identity: &Identity) -> Result<()> {
        match self.runs.get(run) {
            Some((_, identities)) if !identities.contains(identity) => self.check(run),
            _ => Ok(()),
        }
    }

    /// Whether any run has lost an end.
    pub(super) fn check_all(&self) -> Result<()> {
        self.runs.keys().next().map_or(Ok(()), |run| self.check(run))
    }

    /// Forgets an end that was recorded after all.
    pub(super) fn recovered(&mut self, run: &RunId, identity: &Identity) {
        if let Some((_, identities)) = self.runs.get_mut(run) {
            identities.remove(identity);
            if identities.is_empty() {
                self.runs.remove(run);
            }
        }
    }

    /// Forgets a run that has stopped: its next execution starts from what is recorded.
    pub(super) fn stopped(&mut self, run: &RunId) {
        self.runs.remove(run);
    }
}
