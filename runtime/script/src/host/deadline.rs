//! Owns the time that a worker may compute before the host kills it. The worker's own deadline comes first and can
//! name the place; this one is for code in which no interrupt fires.

use std::time::Duration;

use tokio::time::Instant;

/// What the worker's own interrupt gets to report before the host ends it.
const GRACE: Duration = Duration::from_millis(500);
/// From spawn to the first word; generous, because a loaded machine is not the script's fault.
const START: Duration = Duration::from_secs(15);

/// The moment at which the worker has to be blocked again.
pub(super) struct Deadline {
    exec: Duration,
    due: Option<Instant>,
}

impl Deadline {
    pub(super) fn starting(exec: Duration) -> Self {
        Self { exec, due: Some(Instant::now() + START) }
    }

    pub(super) fn arm(&mut self) {
        self.due = Some(Instant::now() + self.exec + GRACE);
    }

    pub(super) fn disarm(&mut self) {
        self.due = None;
    }

    pub(super) fn passed(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    /// When to look again. Arming happens once per answer, so it only stores a moment; the timer is set from it lazily.
    pub(super) fn look_again(&self) -> Instant {
        self.due.unwrap_or_else(|| Instant::now() + self.exec + GRACE)
    }
}
