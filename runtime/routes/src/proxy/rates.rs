//! Owns how many requests an address may make in a second, in memory that does not grow without end.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;

use super::pace;

const SHARDS: usize = 16;
/// Addresses that are remembered in each shard.
const MOST: usize = 4096;

/// For each address, up to when (in microseconds) it has used what it may: the generic cell rate algorithm.
#[derive(Debug)]
pub(crate) struct Rates([Mutex<HashMap<IpAddr, u64, RandomState>>; SHARDS]);

impl Default for Rates {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

/// Who has a network of IPv6 has all 2^64 addresses of it.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

fn shard(address: IpAddr) -> usize {
    let folded = match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    };
    (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as usize % SHARDS
}

impl Rates {
    /// Whether `address` may make one more request now, `rate` a second and `burst` at once.
    pub(crate) fn admit(&self, address: IpAddr, rate: u32, burst: u32) -> bool {
        self.admit_at(address, rate, burst, pace::now() * 1000)
    }

    fn admit_at(&self, address: IpAddr, rate: u32, burst: u32, now: u64) -> bool {
        let address = counted_as(address);
        let each = 1_000_000 / u64::from(rate.max(1));
        let ahead = each * u64::from(burst.max(1));
        let mut used = self.0[shard(address)].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = used.get_mut(&address) {
            let next = (*until).max(now) + each;
            let may = next <= now + ahead;
            if may {
                *until = next;
            }
            return may;
        }
        if used.len() >= MOST {
            used.retain(|_, until| *until > now);
            // So many at once are no client that comes too often: no limit on one address helps against them.
            if used.len() > MOST / 2 {
                used.clear();
            }
        }
        used.insert(address, now + each);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_in_and_then_one_at_a_time() {
        let rates = Rates::default();
        let one = "192.0.2.1".parse().unwrap();
        let admitted = |now| (0..20).filter(|_| rates.admit_at(one, 10, 5, now)).count();
        assert_eq!(admitted(0), 5);
        assert_eq!(admitted(100_000), 1);
        assert_eq!(admitted(10_000_000), 5);
        assert!(rates.admit_at("192.0.2.2".parse().unwrap(), 10, 5, 0), "another address has its own");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let rates = Rates::default();
        assert!(rates.admit_at("2001:db8::1".parse().unwrap(), 1, 1, 0));
        assert!(!rates.admit_at("2001:db8::ffff:2".parse().unwrap(), 1, 1, 0));
        assert!(rates.admit_at("2001:db8:0:1::1".parse().unwrap(), 1, 1, 0));
    }

    #[test]
    fn no_number_of_addresses_takes_more_memory() {
        let rates = Rates::default();
        for address in 0..200_000_u32 {
            rates.admit_at(IpAddr::V4(address.into()), 1, 1, 0);
        }
        let kept: usize = rates.0.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(kept <= SHARDS * MOST);
    }
}
