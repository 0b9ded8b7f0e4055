//! Owns how many refusals are recorded: whoever is refused again and again must not fill the disk. What is left out is
//! counted, and told with the next one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use effect::Timestamp;

/// Refusals of one and the same that are recorded within [`SPAN`].
const MOST: u32 = 60;
const SPAN: Duration = Duration::from_secs(60);
/// How many are told apart at once.
const MOST_APART: usize = 4096;

/// Who was refused of late: a principal, an address. Those of whom that is not known are counted together.
#[derive(Debug)]
pub struct Denials<K>(Mutex<HashMap<Option<K>, Count>>);

#[derive(Debug)]
struct Count {
    since: Timestamp,
    recorded: u32,
    left_out: u64,
}

impl<K> Default for Denials<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Denials<K> {
    /// Whether a refusal is recorded, and how many of the same were not before it.
    pub fn counts(&self, who: Option<K>, now: Timestamp) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST_APART && !counts.contains_key(&who) {
            counts.retain(|_, count| now.since(count.since) < SPAN);
        }
        // Beyond so many within a minute they are counted together.
        let is_known = counts.len() < MOST_APART || counts.contains_key(&who);
        let who = who.filter(|_| is_known);
        let count = counts.entry(who).or_insert(Count { since: now, recorded: 0, left_out: 0 });
        if now.since(count.since) >= SPAN || now < count.since {
            (count.since, count.recorded) = (now, 0);
        }
        if count.recorded >= MOST {
            count.left_out += 1;
            return None;
        }
        count.recorded += 1;
        Some(std::mem::take(&mut count.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Timestamp = Timestamp(1_000_000);

    #[test]
    fn what_is_left_out_is_told_with_the_next() {
        let denials = Denials::default();
        let recorded = (0..100).filter(|_| denials.counts(Some("x"), BEGIN).is_some()).count();
        assert_eq!(recorded, MOST as usize);
        assert_eq!(denials.counts(Some("y"), BEGIN), Some(0));
        assert_eq!(denials.counts(None, BEGIN), Some(0), "another is counted by itself");
        let later = BEGIN.after(SPAN);
        assert_eq!(denials.counts(Some("x"), later), Some(40));
        assert_eq!(denials.counts(Some("x"), later), Some(0));
    }

    #[test]
    fn beyond_what_is_told_apart_strangers_count_as_one() {
        let denials = Denials::default();
        for one in 0..MOST_APART {
            assert_eq!(denials.counts(Some(one), BEGIN), Some(0));
        }
        let recorded =
            (0..100).filter(|more| denials.counts(Some(MOST_APART + more), BEGIN).is_some()).count();
        assert_eq!(recorded, MOST as usize);
        assert_eq!(denials.counts(Some(1), BEGIN), Some(0), "who is known is told apart still");
        assert_eq!(denials.counts(Some(MOST_APART), BEGIN.after(SPAN)), Some(0), "the table is free again");
    }
}
