//! Owns whether this machine's clock can be believed: schedules, certificates and one-time codes follow it. Told is a clock
//! that was set by a jump, and one that was kept right by something and is so no longer.
//!
//! A machine whose clock nothing keeps, as in most containers, is not told of: nobody knows whether it is wrong, and it is so for
//! ever. `mcrun doctor` says it.

use std::time::Duration;

use effect::Result;
use journal::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Parts;
use super::memory::{Changes, Memory};

const KEY: &str = "clock";
/// One that is set again and again is told of no more often.
const BETWEEN_JUMPS: Duration = Duration::from_secs(600);

/// What the kernel knows of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Whether something keeps it right.
    pub is_synchronised: bool,
    /// By how much it may be wrong at the most.
    pub error: Duration,
}

/// What the kernel knows of its clock; nothing where that may not be asked.
#[must_use]
pub fn kept() -> Option<Kept> {
    // SAFETY: a timex of zeros is valid, and asks for nothing to be changed.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a timex of our own, which outlives the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    (state >= 0).then(|| Kept {
        is_synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        error: Duration::from_micros(u64::try_from(timex.maxerror).unwrap_or(0)),
    })
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    /// Since the machine came up, sleep included: nobody can set it.
    up: Duration,
}

impl Reading {
    fn now(parts: &Parts<'_>) -> Self {
        let up = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(up.tv_sec).unwrap_or(0);
        let up = Duration::new(seconds, u32::try_from(up.tv_nsec).unwrap_or(0));
        Self { wall: parts.journal.clock().now(), up }
    }

    /// By how many milliseconds the clock was set since `before`.
    fn jump_since(self, before: Self) -> i64 {
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let passed = millis(self.up.saturating_sub(before.up));
        self.wall.0.saturating_sub(before.wall.0).saturating_sub(passed)
    }
}

/// What the last looks found.
#[derive(Debug, Default)]
pub(super) struct Watch {
    read: Option<Reading>,
    /// Since the machine came up.
    told: Option<Duration>,
    /// What was not told, as it came too soon.
    untold: i64,
}

/// How it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stood {
    /// Nothing has ever kept it right.
    Alone,
    Right,
    Skewed,
}

impl Watch {
    pub(super) async fn compare(
        &mut self,
        parts: &Parts<'_>,
        memory: &mut Memory,
        beyond: Duration,
    ) -> Result<()> {
        let mut changes = Changes::default();
        if let Some(by) = self.jump(Reading::now(parts), beyond) {
            tracing::warn!(by_ms = by, "the clock was set");
            changes.tell("clock.jumped", json!({ "by_ms": by }));
        }
        if let Some(kept) = kept() {
            let before: Stood = memory.of(KEY).await?.unwrap_or(Stood::Alone);
            let now = judge(before, kept, beyond);
            let error_ms = u64::try_from(kept.error.as_millis()).unwrap_or(u64::MAX);
            let data = json!({ "synchronised": kept.is_synchronised, "error_ms": error_ms });
            match (before, now) {
                (Stood::Right, Stood::Skewed) => changes.tell("clock.skewed", data),
                (Stood::Skewed, Stood::Right) => changes.tell("clock.right", data),
                _ => {}
            }
            changes.keep(KEY.to_owned(), &now);
        }
        memory.settle(changes).await
    }

    /// By how much the clock was set, where that is to be told now.
    fn jump(&mut self, now: Reading, beyond: Duration) -> Option<i64> {
        let by = self.read.replace(now).map_or(0, |before| now.jump_since(before));
        let is_beyond = |by: i64| u128::from(by.unsigned_abs()) > beyond.as_millis();
        if is_beyond(by) {
            self.untold = self.untold.saturating_add(by);
        }
        let is_early = self.told.is_some_and(|told| now.up.saturating_sub(told) < BETWEEN_JUMPS);
        if is_early || self.untold == 0 {
            return None;
        }
        // There and back again within the time is as good as never.
        let sum = std::mem::take(&mut self.untold);
        if !is_beyond(sum) {
            return None;
        }
        self.told = Some(now.up);
        Some(sum)
    }
}

fn judge(before: Stood, kept: Kept, beyond: Duration) -> Stood {
    // It is right again only where it is well within the limit.
    let limit = if before == Stood::Skewed { beyond / 2 } else { beyond };
    if kept.is_synchronised && kept.error <= limit {
        return Stood::Right;
    }
    match before {
        // One that was never right is not missed.
        Stood::Alone => Stood::Alone,
        Stood::Right | Stood::Skewed => Stood::Skewed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEYOND: Duration = Duration::from_secs(5);

    fn kept(is_synchronised: bool, millis: u64) -> Kept {
        Kept { is_synchronised, error: Duration::from_millis(millis) }
    }

    fn reading(wall: i64, up: u64) -> Reading {
        Reading { wall: Timestamp(1_000_000_000_000 + wall * 1000), up: Duration::from_secs(up) }
    }

    #[test]
    fn a_clock_that_nothing_has_ever_kept_is_not_missed() {
        assert_eq!(judge(Stood::Alone, kept(false, 16_000), BEYOND), Stood::Alone);
        assert_eq!(judge(Stood::Alone, kept(true, 16_000), BEYOND), Stood::Alone);
        assert_eq!(judge(Stood::Alone, kept(true, 3), BEYOND), Stood::Right);
    }

    #[test]
    fn one_that_was_right_is_skewed_beyond_the_limit_and_right_again_well_within_it() {
        assert_eq!(judge(Stood::Right, kept(true, 5000), BEYOND), Stood::Right);
        assert_eq!(judge(Stood::Right, kept(true, 5001), BEYOND), Stood::Skewed);
        assert_eq!(judge(Stood::Right, kept(false, 1), BEYOND), Stood::Skewed);
        assert_eq!(judge(Stood::Skewed, kept(true, 4999), BEYOND), Stood::Skewed);
        assert_eq!(judge(Stood::Skewed, kept(true, 2500), BEYOND), Stood::Right);
    }

    #[test]
    fn a_clock_that_goes_is_not_set_and_one_that_jumps_is() {
        let mut watch = Watch::default();
        assert_eq!(watch.jump(reading(0, 0), BEYOND), None);
        assert_eq!(watch.jump(reading(5, 5), BEYOND), None);
        // The machine slept: both clocks went on.
        assert_eq!(watch.jump(reading(7205, 7205), BEYOND), None);
        assert_eq!(watch.jump(reading(7205 + 5 + 3600, 7210), BEYOND), Some(3_600_000));
        assert_eq!(watch.jump(reading(7205 + 10 + 3600, 7215), BEYOND), None);
    }

    #[test]
    fn what_keeps_jumping_is_told_of_in_sum_and_seldom() {
        let mut watch = Watch::default();
        watch.jump(reading(0, 0), BEYOND);
        assert_eq!(watch.jump(reading(-100, 0), BEYOND), Some(-100_000));
        // There, and back again.
        assert_eq!(watch.jump(reading(300, 0), BEYOND), None);
        assert_eq!(watch.jump(reading(-100, 0), BEYOND), None);
        assert_eq!(watch.jump(reading(500, 600), BEYOND), None);
        // There for good.
        assert_eq!(watch.jump(reading(600, 600), BEYOND), Some(100_000));
        assert_eq!(watch.jump(reading(650, 601), BEYOND), None);
        assert_eq!(watch.jump(reading(1249, 1200), BEYOND), Some(49_000));
    }

    #[test]
    fn the_kernel_may_be_asked() {
        // Without a right to ask there is no answer, and that is no failure.
        if let Some(kept) = super::kept() {
            assert!(kept.error < Duration::from_secs(3600), "{kept:?}");
        }
    }
}
