//! Owns when a container flaps: when its engine starts it again several times within a while. It is the rate that counts; one
//! that was started again three times in a year does not flap, however often that was in all.

use std::time::Duration;

use ::containers::Observed;
use journal::Timestamp;
use serde::{Deserialize, Serialize};

use super::containers::Stood;

/// Started again so often within the window, a container flaps, until a whole window has been quiet.
const RESTARTS: u32 = 3;
const WINDOW: Duration = Duration::from_secs(600);
/// What lies closer together is one entry, so that a window never has more than twenty.
const APART: Duration = Duration::from_secs(30);

/// The restarts of one container that lie within the window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Restarts {
    /// When they were seen, and how many.
    seen: Vec<(Timestamp, u32)>,
    pub(super) flaps: bool,
}

impl Restarts {
    /// The same after a look at `now` that has found `more` of them.
    pub(super) fn after(&self, more: u32, now: Timestamp) -> Self {
        // The clock may have been set back since: what cannot have been yet was just now.
        let mut seen: Vec<(Timestamp, u32)> =
            self.seen.iter().map(|(at, count)| (*at.min(&now), *count)).collect();
        seen.retain(|(at, _)| now.since(*at) < WINDOW);
        match seen.last_mut() {
            _ if more == 0 => {}
            Some((at, count)) if now.since(*at) < APART => *count = count.saturating_add(more),
            _ => seen.push((now, more)),
        }
        let flaps = if self.flaps { !seen.is_empty() } else { count(&seen) >= RESTARTS };
        Self { seen, flaps }
    }

    /// How many there were within the window.
    pub(super) fn count(&self) -> u32 {
        count(&self.seen)
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_quiet(&self) -> bool {
        self.seen.is_empty() && !self.flaps
    }
}

fn count(seen: &[(Timestamp, u32)]) -> u32 {
    seen.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

/// How many restarts lie between two counts of one container. A count that is lower was begun anew.
pub(super) fn between(before: u32, now: u32) -> u32 {
    if now >= before { now - before } else { now }
}

/// How often a container that flaps was started again within the window. What no monitor has seen counts as far as the last
/// start lies within it: the engine tells how often, and not when.
pub(super) fn judged(before: Option<&Stood>, container: &Observed, now: Timestamp) -> Option<u32> {
    let same = before.filter(|before| before.id == container.id);
    let unseen = between(same.map_or(0, |before| before.restarts), container.restarts);
    let started = container.started_at.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let is_recent = started.is_none_or(|at| now.since(Timestamp(at.as_millisecond())) < WINDOW);
    let seen = same.map(|before| before.lately.clone()).unwrap_or_default();
    let restarts = seen.after(if is_recent { unseen } else { 0 }, now);
    restarts.flaps.then(|| restarts.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_000_000_000_000 + seconds * 1000)
    }

    #[test]
    fn restarts_that_lie_far_apart_are_no_flapping() {
        let mut restarts = Restarts::default();
        for day in 0..100 {
            restarts = restarts.after(1, at(day * 86_400));
            assert!(!restarts.flaps, "day {day}");
        }
    }

    #[test]
    fn flapping_begins_with_the_third_restart_of_a_window_and_ends_when_one_is_quiet() {
        let two = Restarts::default().after(1, at(0)).after(1, at(100));
        assert!(!two.flaps);
        let three = two.after(1, at(200));
        assert_eq!((three.flaps, three.count()), (true, 3));
        // Two of them are out of the window, and the last is not.
        let fewer = three.after(0, at(799));
        assert_eq!((fewer.flaps, fewer.count()), (true, 1));
        let quiet = fewer.after(0, at(800));
        assert!(!quiet.flaps && quiet.is_quiet());
    }

    #[test]
    fn what_restarts_all_the_time_is_remembered_in_little() {
        let mut restarts = Restarts::default();
        for second in 0..3600 {
            restarts = restarts.after(2, at(second));
        }
        assert!(restarts.flaps && restarts.seen.len() <= 20, "{restarts:?}");
        assert!((1100..=1200).contains(&restarts.count()), "{}", restarts.count());
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_flapping_for_long() {
        let flapping = Restarts::default().after(3, at(864_000));
        let set_back = flapping.after(0, at(0));
        assert!(set_back.flaps);
        assert!(!set_back.after(0, at(600)).flaps);
    }

    #[test]
    fn a_count_that_begins_anew_is_counted_from_nothing() {
        assert_eq!((between(5, 7), between(7, 7), between(7, 2), between(7, 0)), (2, 0, 2, 0));
    }
}
