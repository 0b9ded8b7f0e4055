//! Owns how many refusals are recorded: whoever is refused again and again must not fill the disk. What is left out is
//! counted, and told with the next one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use effect::Timestamp;

/// Refusals of one principal that are recorded within [`SPAN`].
const MOST: u32 = 60;
const SPAN: Duration = Duration::from_secs(60);
/// Principals that are told apart at once. Names come from certificates that an authority issued and from this machine.
const MOST_PRINCIPALS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<HashMap<String, Count>>);

#[derive(Debug)]
struct Count {
    since: Timestamp,
    recorded: u32,
    left_out: u64,
}

impl Denials {
    /// Whether a refusal is recorded, and how many of the same principal were not before it.
    pub(super) fn counts(&self, principal: &str, now: Timestamp) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST_PRINCIPALS && !counts.contains_key(principal) {
            counts.retain(|_, count| now.since(count.since) < SPAN);
        }
        // Beyond so many within a minute they are counted together.
        let name = if counts.len() >= MOST_PRINCIPALS { "*" } else { principal };
        let count = counts.entry(name.to_owned()).or_insert(Count { since: now, recorded: 0, left_out: 0 });
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

    #[test]
    fn what_is_left_out_is_told_with_the_next() {
        let (denials, begin) = (Denials::default(), Timestamp(1_000_000));
        let recorded = (0..100).filter(|_| denials.counts("certificate:x", begin).is_some()).count();
        assert_eq!(recorded, MOST as usize);
        assert_eq!(denials.counts("certificate:y", begin), Some(0));
        let later = begin.after(SPAN);
        assert_eq!(denials.counts("certificate:x", later), Some(40));
        assert_eq!(denials.counts("certificate:x", later), Some(0));
    }
}
