//! Owns figures about questions: how many of each zone, type, code and protocol, and how long they took. Each thread
//! counts on its own; whoever shows them adds them up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use foldhash::fast::RandomState;

/// Different kinds of questions that are told apart; what comes after is counted as others.
const MOST_KINDS: usize = 4096;
/// Upper ends of the classes of time, in microseconds.
pub const BOUNDS: [u64; 12] = [5, 10, 25, 50, 100, 250, 1000, 5000, 25_000, 100_000, 500_000, 2_500_000];

/// The way that a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// A datagram.
    Udp,
    /// A connection.
    Tcp,
}

/// What is counted of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Heard {
    /// The number of the zone that answered.
    pub zone: Option<u32>,
    /// The type; 0 where it could not be read.
    pub rtype: u16,
    /// The code of the answer.
    pub code: u8,
    /// How it came.
    pub protocol: Protocol,
    /// Whether others had the answer.
    pub forwarded: bool,
}

impl Heard {
    /// Something of which nothing is known yet.
    #[must_use]
    pub fn unread(protocol: Protocol) -> Self {
        Self { zone: None, rtype: 0, code: 0, protocol, forwarded: false }
    }
}

/// Figures of one thread.
#[derive(Debug, Default)]
pub struct Counts {
    heard: Mutex<HashMap<Heard, u64, RandomState>>,
    times: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
    dropped: AtomicU64,
    limited: AtomicU64,
}

/// Figures of all threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Questions by kind.
    pub heard: HashMap<Heard, u64>,
    /// Questions by the class of the time that they took.
    pub times: [u64; BOUNDS.len() + 1],
    /// Microseconds that all took together.
    pub microseconds: u64,
    /// Messages that get no answer.
    pub dropped: u64,
    /// Questions beyond the limit of their client.
    pub limited: u64,
}

impl Counts {
    /// A question was answered that came at `since`.
    pub fn heard(&self, heard: Heard, since: Instant) {
        let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let class = BOUNDS.partition_point(|bound| *bound < took);
        self.times[class].fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add(took, Ordering::Relaxed);
        // Taken by others only to be shown, so it is mostly free.
        let mut kinds = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = kinds.get_mut(&heard) {
            *count += 1;
        } else if kinds.len() < MOST_KINDS {
            kinds.insert(heard, 1);
        } else {
            *kinds.entry(Heard { zone: None, rtype: 0, ..heard }).or_default() += 1;
        }
    }

    /// A message gets no answer.
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// A client asked too much.
    pub fn limited(&self) {
        self.limited.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds these figures to `totals`.
    pub fn add_to(&self, totals: &mut Totals) {
        for (kind, count) in &*self.heard.lock().unwrap_or_else(PoisonError::into_inner) {
            *totals.heard.entry(*kind).or_default() += count;
        }
        for (total, time) in totals.times.iter_mut().zip(&self.times) {
            *total += time.load(Ordering::Relaxed);
        }
        totals.microseconds += self.microseconds.load(Ordering::Relaxed);
        totals.dropped += self.dropped.load(Ordering::Relaxed);
        totals.limited += self.limited.load(Ordering::Relaxed);
    }
}
