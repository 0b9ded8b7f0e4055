//! Owns how often somebody may try: each pair of name and address waits longer after every failure, and each name has a
//! slow rate for all addresses that never signed in under it, and each address one for all names that never did from it. Whoever signed in from an address before is not held up by
//! what others do elsewhere. Names count whether there is such an account or not. All of it in bounded memory.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use journal::Timestamp;
use quick_cache::unsync::Cache;

use crate::random;

/// Failures of a pair that cost no wait.
const FREE: u32 = 4;
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// A pair that failed this long ago begins anew.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);
/// Tries of one name from addresses that nobody knows: this many at once, and one more each [`REFILL`].
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(6);
/// The same of one address for names that never signed in from it: whoever tries one password with every name, or has hash
/// upon hash computed so that nobody else's comes to its turn, is slow.
const OF_ADDRESS: Rate = Rate { burst: 100, refill: Duration::from_secs(1) };
const OF_NAME: Rate = Rate { burst: BURST, refill: REFILL };
/// One-time codes that are shown with the right password from addresses that nobody knows: of a million codes three are right at a
/// time, and whoever has the password may come from many addresses.
const OF_CODES: Rate = Rate { burst: 10, refill: Duration::from_secs(600) };
const MOST: usize = 65_536;

type Hash = [u8; 16];

/// A try that was let in, counted as a failure until it turns out otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Try {
    pair: Hash,
    name: Hash,
    from: Option<Hash>,
    is_known: bool,
}

/// So many at once, and one more each time.
struct Rate {
    burst: u32,
    refill: Duration,
}

#[derive(Clone, Copy, Default)]
struct Pair {
    failures: u32,
    last: Timestamp,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: u32,
    since: Timestamp,
}

struct Inner {
    pairs: Cache<Hash, Pair>,
    names: Cache<Hash, Bucket>,
    addresses: Cache<Hash, Bucket>,
    codes: Cache<Hash, Bucket>,
    known: Cache<Hash, ()>,
}

/// What was tried.
pub(crate) struct Attempts {
    inner: Mutex<Inner>,
}

impl Default for Attempts {
    fn default() -> Self {
        let inner = Inner {
            pairs: Cache::new(MOST),
            names: Cache::new(MOST),
            addresses: Cache::new(MOST),
            codes: Cache::new(MOST),
            known: Cache::new(MOST),
        };
        Self { inner: Mutex::new(inner) }
    }
}

impl Attempts {
    /// Lets somebody try, or says how long to wait.
    pub(crate) fn begin(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Result<Try, Duration> {
        let (name, pair) = (hash(name, None), hash(name, Some(address)));
        let from = address.map(|address| hash("", Some(Some(address))));
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = inner.pairs.get(&pair).copied().unwrap_or_default();
        if now.since(seen.last) > FORGOTTEN {
            seen.failures = 0;
        }
        let free_at = seen.last.after(wait(seen.failures));
        if now < free_at {
            return Err(free_at.since(now));
        }
        let is_known = inner.known.get(&pair).is_some();
        if !is_known {
            OF_NAME.take(&mut inner.names, name, now)?;
            if let Some(from) = from
                && let Err(wait) = OF_ADDRESS.take(&mut inner.addresses, from, now)
            {
                OF_NAME.give_back(&mut inner.names, name);
                return Err(wait);
            }
        }
        inner.pairs.insert(pair, Pair { failures: seen.failures.saturating_add(1), last: now });
        Ok(Try { pair, name, from, is_known })
    }

    /// Lets somebody who has shown the right password show a one-time code, or says how long to wait.
    pub(crate) fn show_code(&self, tried: Try, now: Timestamp) -> Result<(), Duration> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.is_known { Ok(()) } else { OF_CODES.take(&mut inner.codes, tried.name, now) }
    }

    /// The code was right, or was not decided on.
    pub(crate) fn code_counts_not(&self, tried: Try) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !tried.is_known {
            OF_CODES.give_back(&mut inner.codes, tried.name);
        }
    }

    /// It was somebody with the right proof.
    pub(crate) fn succeeded(&self, tried: Try) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.pairs.remove(&tried.pair);
        inner.known.insert(tried.pair, ());
        give_back(&mut inner, tried);
    }

    /// It was not decided, as when too many wait: it counts for nothing.
    pub(crate) fn undecided(&self, tried: Try) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut pair) = inner.pairs.get(&tried.pair).copied() {
            pair.failures = pair.failures.saturating_sub(1);
            inner.pairs.insert(tried.pair, pair);
        }
        give_back(&mut inner, tried);
    }
}

fn give_back(inner: &mut Inner, tried: Try) {
    if tried.is_known {
        return;
    }
    OF_NAME.give_back(&mut inner.names, tried.name);
    if let Some(from) = tried.from {
        OF_ADDRESS.give_back(&mut inner.addresses, from);
    }
}

impl Rate {
    fn take(&self, buckets: &mut Cache<Hash, Bucket>, key: Hash, now: Timestamp) -> Result<(), Duration> {
        let mut bucket = buckets.get(&key).copied().unwrap_or(Bucket { left: self.burst, since: now });
        let step = self.refill.as_millis().max(1);
        let more = u32::try_from(now.since(bucket.since).as_millis() / step).unwrap_or(u32::MAX);
        if more > 0 {
            bucket.left = bucket.left.saturating_add(more).min(self.burst);
            bucket.since = now;
        }
        if bucket.left == 0 {
            return Err(bucket.since.after(self.refill).since(now));
        }
        bucket.left -= 1;
        buckets.insert(key, bucket);
        Ok(())
    }

    fn give_back(&self, buckets: &mut Cache<Hash, Bucket>, key: Hash) {
        if let Some(mut bucket) = buckets.get(&key).copied() {
            bucket.left = (bucket.left + 1).min(self.burst);
            buckets.insert(key, bucket);
        }
    }
}

fn wait(failures: u32) -> Duration {
    match failures.checked_sub(FREE) {
        None | Some(0) => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << (beyond - 1).min(20)).min(LONGEST_WAIT),
    }
}

/// What an address counts as: whoever has one of IPv6 has the whole network of it.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        other => other,
    }
}

/// A name alone, or with an address.
fn hash(name: &str, address: Option<Option<IpAddr>>) -> Hash {
    let address = address.map(|address| address.map(network));
    // The name is what somebody typed, of any length.
    let whole = random::sha256(format!("{address:?} {}", name.to_lowercase()).as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_700_000_000_000);

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn waits_double_up_to_a_bound_and_end_with_success() {
        let attempts = Attempts::default();
        let (mut now, mut longest) = (START, Duration::ZERO);
        for _ in 0..40 {
            if let Err(wait) = attempts.begin("alice", address(1), now) {
                longest = longest.max(wait);
                now = now.after(wait);
                attempts.begin("alice", address(1), now).unwrap();
            }
        }
        assert_eq!(longest, LONGEST_WAIT);
        now = now.after(LONGEST_WAIT);
        attempts.succeeded(attempts.begin("alice", address(1), now).unwrap());
        for _ in 0..=FREE {
            attempts.begin("alice", address(1), now).unwrap();
        }
    }

    #[test]
    fn tries_at_once_count_before_they_are_decided() {
        let attempts = Attempts::default();
        let let_in = (0..100).filter(|_| attempts.begin("alice", address(1), START).is_ok()).count();
        assert_eq!(let_in, FREE as usize + 1);
    }

    #[test]
    fn nobody_is_locked_out_by_others() {
        let attempts = Attempts::default();
        attempts.succeeded(attempts.begin("alice", address(1), START).unwrap());
        let tried = (2..=255).filter(|last| attempts.begin("alice", address(*last), START).is_ok()).count();
        assert_eq!(tried, BURST as usize, "the name has a rate for addresses that nobody knows");
        assert!(attempts.begin("alice", address(1), START).is_ok(), "who is known is let in");
        assert!(attempts.begin("bob", address(9), START).is_ok(), "another name is another matter");
        assert!(attempts.begin("alice", address(200), START).is_err(), "the rate holds");
        assert!(attempts.begin("alice", address(200), START.after(REFILL)).is_ok(), "and is one");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let attempts = Attempts::default();
        let of = |host: u16| Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host)));
        let let_in = (0..100).filter(|host| attempts.begin("alice", of(*host), START).is_ok()).count();
        assert_eq!(let_in, FREE as usize + 1);
    }

    #[test]
    fn one_address_does_not_try_every_name() {
        let attempts = Attempts::default();
        attempts.succeeded(attempts.begin("alice", address(1), START).unwrap());
        let tried = |from, at| {
            (0..1000).filter(|name| attempts.begin(&format!("n{name}"), address(from), at).is_ok()).count()
        };
        assert_eq!(tried(1, START), OF_ADDRESS.burst as usize);
        assert!(attempts.begin("alice", address(1), START).is_ok(), "who is known there is let in");
        assert!(attempts.begin("bob", address(2), START).is_ok(), "and others elsewhere");
        assert_eq!(tried(1, START.after(OF_ADDRESS.refill)), 1);
    }

    #[test]
    fn codes_are_not_guessed_from_everywhere_at_once() {
        let attempts = Attempts::default();
        let known = attempts.begin("alice", address(1), START).unwrap();
        attempts.succeeded(known);
        let shown = |from, at: Timestamp| {
            let tried = attempts.begin("alice", address(from), at).unwrap();
            attempts.show_code(tried, at).is_ok()
        };
        let later = |times: u32| START.after(REFILL * times);
        let count = (2..42).filter(|from| shown(*from, later(u32::from(*from)))).count();
        assert_eq!(count, OF_CODES.burst as usize, "each from another address, as slowly as a name is tried");
        assert!(shown(1, later(42)), "the owner shows one where she was before");
        let at = later(43).after(OF_CODES.refill);
        let tried = attempts.begin("alice", address(99), at).unwrap();
        attempts.show_code(tried, at).unwrap();
        assert!(attempts.show_code(tried, at).is_err());
        attempts.code_counts_not(tried);
        assert!(attempts.show_code(tried, at).is_ok(), "what was right counts for nothing");
    }

    #[test]
    fn memory_is_bounded() {
        let attempts = Attempts::default();
        for number in 0..100_000 {
            let from = IpAddr::from(u32::to_be_bytes(number));
            let _ = attempts.begin(&format!("n{number}"), Some(from), START);
        }
        let inner = attempts.inner.lock().unwrap();
        let most = inner.pairs.len().max(inner.names.len()).max(inner.addresses.len());
        assert!((MOST / 2..=MOST).contains(&most), "{most}");
    }
}
