//! Owns waiting while a route is paused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::counts::Counts;

/// Where requests wait while their route is paused.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    opened: Notify,
}

/// Why a request does not wait any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    TooManyWait,
    TooLong,
}

struct Waiting<'a>(&'a Counts);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
        if !closed {
            self.opened.notify_waiters();
        }
    }

    /// Resolves when the gate is open.
    pub(crate) async fn pass(&self, counts: &Counts, most: u32, longest: Duration) -> Result<(), Shut> {
        if !self.is_closed() {
            return Ok(());
        }
        let before = counts.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(counts);
        if before >= u64::from(most) {
            return Err(Shut::TooManyWait);
        }
        tokio::time::timeout(longest, self.opened()).await.map_err(|_| Shut::TooLong)
    }

    async fn opened(&self) {
        loop {
            let mut opened = std::pin::pin!(self.opened.notified());
            opened.as_mut().enable();
            if !self.is_closed() {
                return;
            }
            opened.await;
        }
    }
}
