//! Owns the order of answers: they reach the script in the order in which their ends were queued, which is the order a
//! replay will deliver them in.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

pub(super) struct Turnstile {
    state: Mutex<State>,
    /// How many numbers have passed or been given up, without gaps.
    passed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Numbers behind the first gap that will not be waited for: their requests were dropped.
    settled: BTreeSet<u64>,
}

impl Default for Turnstile {
    fn default() -> Self {
        Self { state: Mutex::default(), passed: watch::Sender::new(0) }
    }
}

/// A place in the order. Dropping it settles it, so that nobody waits for an answer that was given up.
pub(super) struct Turn<'a> {
    turnstile: &'a Turnstile,
    number: u64,
}

impl Turnstile {
    /// Takes the next number, at the moment the end is queued.
    pub(super) fn take(&self) -> Turn<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        state.next += 1;
        Turn { turnstile: self, number }
    }
}

impl Turn<'_> {
    /// Waits until every earlier answer has passed.
    pub(super) async fn pass(self) {
        let mut passed = self.turnstile.passed.subscribe();
        // The guard that `wait_for` returns must be gone before the next number is announced.
        let is_next = passed.wait_for(|passed| *passed == self.number).await.is_ok();
        debug_assert!(is_next, "the sender lives as long as the turnstile");
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turnstile.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settled.insert(self.number);
        let mut passed = *self.turnstile.passed.borrow();
        while state.settled.remove(&passed) {
            passed += 1;
        }
        self.turnstile.passed.send_replace(passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_was_given_up_holds_nobody_back() {
        let turnstile = Turnstile::default();
        let (first, second, third) = (turnstile.take(), turnstile.take(), turnstile.take());
        drop(second);
        first.pass().await;
        third.pass().await;
    }
}
