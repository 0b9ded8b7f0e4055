//! Owns ids of requests, by which they are found again in the logs of back ends.

use std::cell::Cell;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};

thread_local! {
    static KEYS: (RandomState, RandomState) = (RandomState::new(), RandomState::new());
    static COUNTER: Cell<u64> = const { Cell::new(0) };
}

/// An id that no other request has, and that nobody guesses from others.
pub(super) fn next() -> String {
    let count = COUNTER.replace(COUNTER.get().wrapping_add(1));
    let (high, low) = KEYS.with(|(high, low)| (high.hash_one(count), low.hash_one(count)));
    let mut text = String::with_capacity(32);
    let _ = write!(text, "{high:016x}{low:016x}");
    text
}
