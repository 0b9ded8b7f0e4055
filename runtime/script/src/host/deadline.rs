//! Owns the time that a worker may compute before the host kills it. The worker's own deadline comes first and can
//! name the place; this one is for code in which no interrupt fires.

use std::time::Duration;

use tokio::time::Instant;

/// What the worker's own interrupt gets to report before the host ends it.
const GRACE: Duration = Duration::from_millis(500);
const SECOND_LOOK: Duration = Duration::from_millis(20);
/// From spawn to the first word; generous, because a loaded machine is not the script's fault.
const START: Duration = Duration::from_secs(15);

/// The moment at which the worker has to be blocked again.
pub(super) struct Deadline {
    exec: Duration,
    due: Option<Instant>,
    /// The moment has passed once already.
    suspected: bool,
}

impl Deadline {
    pub(super) fn starting(exec: Duration) -> Self {
        Self { exec, due: Some(Instant::now() + START), suspected: false }
    }

    pub(super) fn arm(&mut self) {
        self.due = Some(Instant::now() + self.exec + GRACE);
        self.suspected = false;
    }

    pub(super) fn disarm(&mut self) {
        self.due = None;
        self.suspected = false;
    }

    /// Whether the worker is out of time. The first time the answer is no and what the worker has said meanwhile gets
    /// a chance to be read: it may have been the host that was busy.
    pub(super) fn passed(&mut self) -> bool {
        let now = Instant::now();
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.due = Some(now + SECOND_LOOK);
        std::mem::replace(&mut self.suspected, true)
    }

    /// When to look again. Arming happens once per answer, so it only stores a moment; the timer is set from it lazily.
    pub(super) fn look_again(&self) -> Instant {
        self.due.unwrap_or_else(|| Instant::now() + self.exec + GRACE)
    }
}
