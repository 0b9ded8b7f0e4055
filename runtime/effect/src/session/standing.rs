//! Owns how a run stands while it is under way: whether it works or only waits, and when it is to go on.

use std::collections::HashMap;

use journal::{Lease, Open, RunState};
use tokio::sync::watch;

use super::{Session, Stop};
use crate::erased::Operation;
use crate::{Code, Context, Error, Result};

impl Session {
    /// Shows the run as waiting while all that is under way only waits.
    pub(super) async fn show_state(&self) -> Result<(), Stop> {
        let state = {
            let mut progress = self.progress();
            let waits = progress.parked > 0 && progress.working == 0;
            if waits == progress.shown_waiting {
                return Ok(());
            }
            progress.shown_waiting = waits;
            self.only_waits.send_replace(waits);
            if waits { RunState::Waiting } else { RunState::Running }
        };
        Ok(self.journal().set_state(&self.shared.run, state, None, None).await?)
    }
}

/// What a run keeps while its worker is freed: nobody else changes its services meanwhile.
#[derive(Debug, Default)]
pub struct Kept(HashMap<String, Lease>);

impl From<HashMap<String, Lease>> for Kept {
    /// Leases by service.
    fn from(leases: HashMap<String, Lease>) -> Self {
        Self(leases)
    }
}

impl Session {
    /// Follows whether all that is under way only waits, for a long time perhaps.
    #[must_use]
    pub fn waiting(&self) -> watch::Receiver<bool> {
        self.only_waits.subscribe()
    }

    /// Whether one of the waits that were begun would come to its end now.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn is_due(&self, open: &[Open]) -> Result<bool> {
        for entry in open {
            let arguments = serde_json::from_str(&entry.arguments).map_err(|error| {
                Error::new(Code::JournalBroken, "recorded arguments cannot be decoded").because(error)
            })?;
            let call = self.registry.find(&entry.identity.name)?.decode(arguments)?;
            let context =
                Context { shared: self.shared.clone(), identity: entry.identity.clone(), resumed: true };
            let is_due = match call.operation() {
                Operation::Wait(wait) => wait.due(&context, entry.until).await?,
                // Something that is no wait has been begun and not ended: that is for the corridor.
                _ => true,
            };
            if is_due {
                return Ok(true);
            }
        }
        Ok(open.is_empty())
    }

    /// What the next corridor of the same run goes on with.
    #[must_use]
    pub fn keep(&self) -> Kept {
        Kept(std::mem::take(&mut self.progress().leases))
    }

    /// The corridor of a run that had another one before.
    #[must_use]
    pub fn keeping(self, kept: Kept) -> Self {
        self.progress().leases = kept.0;
        self
    }
}

/// Counts a request as long as it is under way, however it ends.
pub(super) struct UnderWay<'a> {
    session: &'a Session,
    parks: bool,
}

impl<'a> UnderWay<'a> {
    pub(super) fn new(session: &'a Session, parks: bool) -> Self {
        let mut progress = session.progress();
        *(if parks { &mut progress.parked } else { &mut progress.working }) += 1;
        Self { session, parks }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut progress = self.session.progress();
        *(if self.parks { &mut progress.parked } else { &mut progress.working }) -= 1;
    }
}
