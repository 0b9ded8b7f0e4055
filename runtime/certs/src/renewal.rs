//! Owns when a certificate is renewed: pure rules on its dates.

use std::time::Duration;

use effect::Timestamp;

use crate::certificate::Certificate;

/// How much of a long life is left at most when a certificate is renewed.
const LONG: Duration = Duration::from_secs(30 * 86_400);
/// How far renewals of different certificates are spread, as a part of the life.
const SPREAD: u32 = 20;

/// How much of a change of the clock is no reason to stop.
pub(crate) const CLOCK_SLACK: Duration = Duration::from_secs(300);

/// How much must be left for a certificate to be used further: 30 days, or a third of a shorter life.
#[must_use]
pub fn margin(life: Duration, wanted: Option<Duration>) -> Duration {
    wanted.unwrap_or_else(|| LONG.min(life / 3))
}

/// When it is renewed by itself: at two thirds of its life, some earlier and some later, so that certificates which were
/// made together do not come back together. `chance` is any text of the certificate's own, such as its serial number.
#[must_use]
pub fn moment(not_before: Timestamp, not_after: Timestamp, chance: &str) -> Timestamp {
    let life = not_after.since(not_before);
    let hash = blake3::hash(chance.as_bytes());
    let seed = hash.as_bytes().first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
    // Always before two thirds: later ones would meet the margin of whoever looks by hand.
    let early = (life / SPREAD).mul_f64(f64::from(seed) / f64::from(u16::MAX));
    not_before.after((life * 2 / 3).saturating_sub(early))
}

impl Certificate {
    /// Whether it should have been renewed by `now`: no more than the margin is left of one that counts still.
    #[must_use]
    pub fn is_late(&self, now: Timestamp) -> bool {
        !self.revoked && self.left(now) <= margin(self.life(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn long_lives_keep_thirty_days_and_short_ones_a_third() {
        assert_eq!(margin(DAY * 90, None), DAY * 30);
        assert_eq!(margin(DAY * 365, None), DAY * 30);
        assert_eq!(margin(DAY * 6, None), DAY * 2);
        assert_eq!(margin(DAY * 6, Some(DAY)), DAY);
    }

    #[test]
    fn renewals_are_spread_before_two_thirds_of_the_life() {
        let (begin, end) = (Timestamp(0), Timestamp(0).after(DAY * 90));
        let moments: Vec<_> = (0..200).map(|number| moment(begin, end, &number.to_string())).collect();
        let (first, last) = (moments.iter().min().unwrap(), moments.iter().max().unwrap());
        assert!(*last <= begin.after(DAY * 60));
        assert!(*first >= begin.after(DAY * 55));
        assert!(last.since(*first) > DAY * 3);
        assert_eq!(moments[7], moment(begin, end, "7"));
    }
}
