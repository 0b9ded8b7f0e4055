//! Owns counting what happens on a route: requests, answers, octets, and how long answers took to begin.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Four buckets for each power of two, from a microsecond to 18 minutes.
const BUCKETS: usize = 4 * 30;

/// How long answers took: nothing is lost of what matters at 19 %, and adding one takes no lock.
#[derive(Debug, Default)]
pub(crate) struct Latencies(OnceLock<Box<[AtomicU64; BUCKETS]>>);

fn bucket(micros: u64) -> usize {
    let micros = micros.max(1);
    let power = micros.ilog2() as usize;
    // The two bits after the first one.
    let part = if power >= 2 { (micros >> (power - 2)) & 3 } else { (micros << (2 - power)) & 3 };
    (power * 4 + part as usize).min(BUCKETS - 1)
}

/// The longest that is in a bucket, in microseconds.
fn upper(bucket: usize) -> u64 {
    let (power, part) = (bucket / 4, bucket as u64 % 4);
    ((1_u64 << power) * (5 + part)).div_ceil(4)
}

impl Latencies {
    pub(crate) fn add(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let buckets = self.0.get_or_init(|| Box::new([const { AtomicU64::new(0) }; BUCKETS]));
        buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> Option<[u64; BUCKETS]> {
        let buckets = self.0.get()?;
        Some(std::array::from_fn(|index| buckets[index].load(Ordering::Relaxed)))
    }

    /// Within how many microseconds `part` of the answers began; 0 where there were none.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        let Some(counts) = self.counts() else { return 0 };
        let all: u64 = counts.iter().sum();
        let wanted = (all as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (index, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper(index);
            }
        }
        0
    }

    /// How many answers began in less than 2^`power` microseconds, for each of `powers`, and how many there were.
    pub(crate) fn below<const COUNT: usize>(&self, powers: [u32; COUNT]) -> ([u64; COUNT], u64) {
        let Some(counts) = self.counts() else { return ([0; COUNT], 0) };
        let below = powers.map(|power| counts[..(power as usize * 4).min(BUCKETS)].iter().sum());
        (below, counts.iter().sum())
    }
}

/// Counts of a route.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) statuses: [AtomicU64; 5],
    pub(crate) failed: AtomicU64,
    pub(crate) tunnels: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) ended: AtomicU64,
    pub(crate) micros: AtomicU64,
    pub(crate) latencies: Latencies,
}

impl Counts {
    pub(crate) fn answered(&self, status: u16, latency: Duration) {
        if let Some(class) =
            usize::from(status / 100).checked_sub(1).and_then(|class| self.statuses.get(class))
        {
            class.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(u64::try_from(latency.as_micros()).unwrap_or(0), Ordering::Relaxed);
        self.latencies.add(latency);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other() {
        let mut last = 0;
        for micros in 1..100_000_u64 {
            let at = bucket(micros);
            assert!(at >= last, "{micros}");
            assert!(
                micros <= upper(at) && upper(at) <= micros + micros / 4 + 1,
                "{micros} in {at}: {}",
                upper(at)
            );
            last = at;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_near_what_they_are_of() {
        let latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), 0);
        for millis in 1..=100 {
            latencies.add(Duration::from_millis(millis));
        }
        let (half, most) = (latencies.quantile(0.5), latencies.quantile(0.99));
        assert!((50_000..64_000).contains(&half) && (99_000..120_000).contains(&most), "{half} {most}");
        assert_eq!(latencies.below([10, 30]), ([1, 100], 100));
    }
}
