//! Owns how a run stands while it is under way: whether it works or only waits.

use journal::RunState;

use super::{Session, Stop};

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
            if waits { RunState::Waiting } else { RunState::Running }
        };
        Ok(self.journal().set_state(&self.shared.run, state, None, None).await?)
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
