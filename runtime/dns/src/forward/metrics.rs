//! Owns the figures of the forwarder. Leaves their text form to whoever publishes them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::trace::Failure;

/// Figures of the forwarder since its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Questions answered from the cache.
    pub hits: u64,
    /// Questions that were not in the cache.
    pub misses: u64,
    /// Questions answered past the end of the answer.
    pub stale: u64,
    /// Answers that were asked for anew before their end.
    pub prefetches: u64,
    /// Questions that shared the answer to the same one under way.
    pub joined: u64,
    /// Questions that nobody answered.
    pub failures: u64,
    /// Questions refused because too many different ones were under way.
    pub crowded: u64,
    /// Answers in the cache.
    pub entries: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Each upstream, in the order of the settings.
    pub upstreams: Vec<UpstreamMetrics>,
}

/// Figures of one upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamMetrics {
    /// The upstream, as the settings write it.
    pub upstream: String,
    /// Questions that it was asked.
    pub queries: u64,
    /// Answers that were taken.
    pub answers: u64,
    /// Questions without an answer in time.
    pub timeouts: u64,
    /// Questions that another one answered first, after it had been given time.
    pub overtaken: u64,
    /// Questions that could not be sent.
    pub unreachable: u64,
    /// Questions not sent because its certificate was not trusted.
    pub untrusted: u64,
    /// Answers that broke the protocol.
    pub malformed: u64,
    /// Answers such as SERVFAIL and REFUSED.
    pub refused: u64,
    /// Questions not sent because too many waited.
    pub busy: u64,
    /// Datagrams that answered another question: strays and forgeries.
    pub mismatched: u64,
    /// Time that all answers took together.
    pub time: Duration,
    /// Time that an answer takes at present.
    pub smoothed: Option<Duration>,
    /// Whether it is asked last, since it did not answer a moment ago.
    pub last: bool,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) prefetches: AtomicU64,
    pub(super) joined: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) crowded: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct UpstreamCounters {
    queries: AtomicU64,
    answers: AtomicU64,
    timeouts: AtomicU64,
    overtaken: AtomicU64,
    unreachable: AtomicU64,
    untrusted: AtomicU64,
    malformed: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    mismatched: AtomicU64,
    micros: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl UpstreamCounters {
    pub(super) fn asked(&self) {
        count(&self.queries);
    }

    pub(super) fn answered(&self, took: Duration) {
        count(&self.answers);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn failed(&self, failure: &Failure) {
        count(match failure {
            Failure::TimedOut => &self.timeouts,
            Failure::Overtaken => &self.overtaken,
            Failure::Unreachable(_) => &self.unreachable,
            Failure::Untrusted(_) => &self.untrusted,
            Failure::Malformed(_) => &self.malformed,
            Failure::Refused { .. } => &self.refused,
            Failure::Busy => &self.busy,
        });
    }

    pub(super) fn mismatched(&self) {
        count(&self.mismatched);
    }

    pub(super) fn read(&self) -> UpstreamMetrics {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        UpstreamMetrics {
            upstream: String::new(),
            queries: read(&self.queries),
            answers: read(&self.answers),
            timeouts: read(&self.timeouts),
            overtaken: read(&self.overtaken),
            unreachable: read(&self.unreachable),
            untrusted: read(&self.untrusted),
            malformed: read(&self.malformed),
            refused: read(&self.refused),
            busy: read(&self.busy),
            mismatched: read(&self.mismatched),
            time: Duration::from_micros(read(&self.micros)),
            smoothed: None,
            last: false,
        }
    }
}
