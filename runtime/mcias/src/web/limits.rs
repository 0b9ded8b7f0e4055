//! Owns how much one address may ask: a rate far above what people and services need, in bounded memory. Signing in has
//! limits of its own.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use effect::Timestamp;
use quick_cache::unsync::Cache;

use super::answer::Refused;
use crate::attempts::network;

/// So many at once, and one more each [`REFILL`].
const BURST: u32 = 400;
const REFILL: Duration = Duration::from_millis(10);
const MOST: usize = 16_384;

#[derive(Clone, Copy)]
struct Bucket {
    left: u32,
    since: Timestamp,
}

/// What was asked of late.
pub(super) struct Limits(Mutex<Cache<IpAddr, Bucket>>);

impl Default for Limits {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(MOST)))
    }
}

impl Limits {
    /// Counts a request of an address; of IPv6 the network counts.
    pub(super) fn admit(&self, peer: IpAddr, now: Timestamp) -> Result<(), Refused> {
        let peer = network(peer);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bucket = buckets.get(&peer).copied().unwrap_or(Bucket { left: BURST, since: now });
        // A clock that was set back is no reason to keep anybody waiting.
        bucket.since = bucket.since.min(now);
        let more = now.since(bucket.since).as_millis() / REFILL.as_millis();
        if more > 0 {
            bucket.left = bucket.left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)).min(BURST);
            bucket.since = now;
        }
        let is_admitted = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        buckets.insert(peer, bucket);
        if is_admitted { Ok(()) } else { Err(Refused::too_often(Duration::from_secs(1))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_the_share_of_another() {
        let (limits, now) = (Limits::default(), Timestamp(1_700_000_000_000));
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let admitted = (0..10_000).filter(|_| limits.admit(one, now).is_ok()).count();
        assert_eq!(admitted, BURST as usize);
        assert!(limits.admit(other, now).is_ok());
        assert!(limits.admit(one, now.after(REFILL)).is_ok());
    }
}
