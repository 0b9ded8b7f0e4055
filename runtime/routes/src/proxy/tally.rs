//! Owns counting what is under way, and waiting for the end of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many are under way.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    count: AtomicUsize,
    none_left: Notify,
}

impl Tally {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Counts one more until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Counted {
        self.count.fetch_add(1, Ordering::SeqCst);
        Counted(Arc::clone(self))
    }

    /// As [`Tally::enter`], unless `most` are under way.
    pub(crate) fn enter_within(self: &Arc<Self>, most: usize) -> Option<Counted> {
        let counted = self.enter();
        (self.count() <= most).then_some(counted)
    }

    /// Resolves when none is under way.
    pub(crate) async fn none(&self) {
        loop {
            let mut left = std::pin::pin!(self.none_left.notified());
            left.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }
}

/// One that is under way.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Tally>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}
