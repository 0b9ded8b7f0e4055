//! Owns the order of answers: they reach the script in the order in which their ends were queued, which is the order a
//! replay will deliver them in.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

pub(super) struct Turnstile {
    next: AtomicU64,
    passed: watch::Sender<u64>,
}

impl Default for Turnstile {
    fn default() -> Self {
        Self { next: AtomicU64::new(0), passed: watch::Sender::new(0) }
    }
}

pub(super) struct Turn<'a> {
    turnstile: &'a Turnstile,
    number: u64,
}

impl Turnstile {
    /// Takes the next number, at the moment the end is queued.
    pub(super) fn take(&self) -> Turn<'_> {
        Turn { turnstile: self, number: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Turn<'_> {
    /// Waits until every earlier answer has passed.
    pub(super) async fn pass(self) {
        let mut passed = self.turnstile.passed.subscribe();
        // The guard that `wait_for` returns must be gone before the next number is announced.
        let is_next = passed.wait_for(|passed| *passed == self.number).await.is_ok();
        debug_assert!(is_next, "the sender lives as long as the turnstile");
        self.turnstile.passed.send_replace(self.number + 1);
    }
}
