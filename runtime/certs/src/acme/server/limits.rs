//! Owns counting how often somebody did something within the hour. Counts are kept in memory: a restart forgives.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use effect::Timestamp;

const WINDOW: Duration = Duration::from_secs(3600);
/// Whoever comes beyond so many others shares one count with everybody like them.
const MOST: usize = 100_000;

/// Counts by key, each from its first within the window.
#[derive(Debug, Default)]
pub(super) struct Counter(Mutex<HashMap<String, (Timestamp, u32)>>);

impl Counter {
    /// Counts one more unless that makes more than `most` within the hour; then, how long to wait.
    pub(super) fn count(&self, key: &str, most: u32, now: Timestamp) -> Result<(), Duration> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST {
            counts.retain(|_, (since, _)| now.since(*since) < WINDOW);
        }
        let key = if counts.len() >= MOST && !counts.contains_key(key) { "" } else { key };
        let (since, count) = counts.entry(key.to_owned()).or_insert((now, 0));
        // A clock that was set back begins anew.
        if now.since(*since) >= WINDOW || now < *since {
            (*since, *count) = (now, 0);
        }
        if *count >= most {
            return Err(left(*since, now));
        }
        *count += 1;
        Ok(())
    }

    /// Whether `most` was reached within the hour; then, how long to wait.
    pub(super) fn check(&self, key: &str, most: u32, now: Timestamp) -> Result<(), Duration> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get(key) {
            Some((since, count)) if *count >= most && now.since(*since) < WINDOW => Err(left(*since, now)),
            _ => Ok(()),
        }
    }
}

/// Whole seconds, as that is what `Retry-After` says.
fn left(since: Timestamp, now: Timestamp) -> Duration {
    let left = WINDOW.saturating_sub(now.since(since));
    Duration::from_secs(left.as_secs().max(1))
}

/// What an address is counted as: one machine has a whole network of IPv6 addresses.
pub(super) fn source(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            format!("{}/64", Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_begins_anew_after_an_hour() {
        let counter = Counter::default();
        let start = Timestamp(1_800_000_000_000);
        assert!(counter.count("a", 2, start).is_ok());
        assert!(counter.count("a", 2, start).is_ok());
        assert_eq!(counter.check("a", 2, start), Err(WINDOW));
        assert_eq!(
            counter.count("a", 2, start.after(Duration::from_secs(600))),
            Err(Duration::from_secs(3000))
        );
        assert!(counter.count("b", 2, start).is_ok());
        assert!(counter.count("a", 2, start.after(WINDOW)).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_machine() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
