//! Owns what is known of an upstream: how fast it answers, whether it lately did, and what it cannot do.

use std::time::Duration;

use super::question::Moment;

/// Who did not answer is asked last for this long, twice as long each time.
const FIRST_PENALTY: Duration = Duration::from_secs(1);
const LONGEST_PENALTY: Duration = Duration::from_secs(30);
/// Being slower than the next one happens to the best; so often in a row it counts as silence.
const OVERTAKEN_TOLERATED: u32 = 3;
/// The next upstream is asked as well after twice the usual time, within these bounds.
const SHORTEST_HEDGE: Duration = Duration::from_millis(150);
const LONGEST_HEDGE: Duration = Duration::from_millis(1000);
const UNKNOWN_HEDGE: Duration = Duration::from_millis(250);
/// So many answers that lost the case of their question, while TCP does not work, are no attack: each would have had
/// to guess id and port.
const CASE_LOST_TOLERATED: u32 = 3;

/// What is known of an upstream.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    smoothed: Option<Duration>,
    failures: u32,
    overtaken: u32,
    last_until: Option<Moment>,
    case_lost: u32,
    without_case: bool,
    without_edns: bool,
}

impl Health {
    /// An answer came, whatever it says.
    pub(super) fn answered(&mut self, took: Duration) {
        // RFC 6298 weighs a new sample with an eighth.
        self.smoothed = Some(self.smoothed.map_or(took, |smoothed| (smoothed * 7 + took) / 8));
        self.failures = 0;
        self.overtaken = 0;
        self.last_until = None;
    }

    /// No answer that can be used came, through its own fault.
    pub(super) fn failed(&mut self, now: Moment) {
        let penalty = FIRST_PENALTY.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PENALTY);
        self.failures = self.failures.saturating_add(1);
        self.last_until = Some(now + penalty);
    }

    /// The next one answered first.
    pub(super) fn overtaken(&mut self, now: Moment) {
        self.overtaken = self.overtaken.saturating_add(1);
        if self.overtaken >= OVERTAKEN_TOLERATED {
            self.failed(now);
        }
    }

    /// Whether to ask the others before it.
    pub(super) fn is_last(&self, now: Moment) -> bool {
        self.last_until.is_some_and(|until| now < until)
    }

    /// How long to wait for it before the next one is asked as well.
    pub(super) fn hedge(&self) -> Duration {
        self.smoothed.map_or(UNKNOWN_HEDGE, |smoothed| (smoothed * 2).clamp(SHORTEST_HEDGE, LONGEST_HEDGE))
    }

    /// An answer over UDP lost the case, and TCP cannot tell whether that is its way.
    pub(super) fn case_lost(&mut self) {
        self.case_lost = self.case_lost.saturating_add(1);
        self.without_case |= self.case_lost >= CASE_LOST_TOLERATED;
    }

    /// It loses the case, over a connection that nobody else answers on.
    pub(super) fn case_never(&mut self) {
        self.without_case = true;
    }

    pub(super) fn case_kept(&mut self) {
        self.case_lost = 0;
    }

    pub(super) fn edns_never(&mut self) {
        self.without_edns = true;
    }

    /// Whether the case of names is a riddle that it answers.
    pub(super) fn keeps_case(&self) -> bool {
        !self.without_case
    }

    pub(super) fn speaks_edns(&self) -> bool {
        !self.without_edns
    }

    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_is_silent_comes_last_for_a_growing_while_and_returns_with_its_first_answer() {
        let (mut health, now) = (Health::default(), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            health.failed(now);
            let end = now + Duration::from_secs(seconds);
            assert!(health.is_last(end - Duration::from_millis(1)));
            assert!(!health.is_last(end));
        }
        health.answered(Duration::from_millis(10));
        assert!(!health.is_last(now));
    }

    #[test]
    fn being_overtaken_counts_only_in_a_row() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..10 {
            health.overtaken(now);
            health.overtaken(now);
            health.answered(Duration::from_millis(300));
        }
        assert!(!health.is_last(now));
        (0..3).for_each(|_| health.overtaken(now));
        assert!(health.is_last(now));
    }

    #[test]
    fn the_wait_for_the_next_follows_the_usual_time_within_bounds() {
        let mut health = Health::default();
        assert_eq!(health.hedge(), UNKNOWN_HEDGE);
        health.answered(Duration::from_millis(1));
        assert_eq!(health.hedge(), SHORTEST_HEDGE);
        let mut far = Health::default();
        far.answered(Duration::from_millis(300));
        assert_eq!(far.hedge(), Duration::from_millis(600));
        far.answered(Duration::from_secs(60));
        assert_eq!(far.hedge(), LONGEST_HEDGE);
    }
}
