//! Owns who may ask for names that are not ours, and how often: networks, and a bucket of tokens for each client in a
//! table that never grows.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;

use super::question::Moment;

/// Seconds of its rate that a client may save up.
const BURST: f32 = 5.0;
const SETS: usize = 1024;
const WAYS: usize = 4;

/// Networks, and the table of buckets.
pub(super) struct Clients {
    networks: Vec<IpNet>,
    rate: f32,
    hasher: RandomState,
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    client: Option<IpAddr>,
    tokens: f32,
    filled: Option<Moment>,
}

impl Clients {
    pub(super) fn new(networks: Vec<IpNet>, queries_per_second: u32) -> Self {
        let sets = if queries_per_second == 0 { 0 } else { SETS };
        Self {
            networks,
            rate: queries_per_second as f32,
            hasher: RandomState::new(),
            sets: (0..sets).map(|_| Mutex::default()).collect(),
        }
    }

    /// Whether the client is of a network that may ask.
    pub(super) fn admits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.networks.iter().any(|network| network.contains(&client))
    }

    /// Takes a token of the client, if there is one. This machine itself is never limited: it is all of its programs.
    pub(super) fn allows(&self, client: IpAddr, now: Moment) -> bool {
        let client = subscriber(client);
        if self.sets.is_empty() || client.is_loopback() {
            return true;
        }
        let index = self.hasher.hash_one(client) as usize % self.sets.len();
        let mut set = self.sets[index].lock().unwrap_or_else(PoisonError::into_inner);
        for bucket in set.iter_mut() {
            bucket.fill(self.rate, now);
        }
        let place = set.iter().position(|bucket| bucket.client == Some(client));
        let bucket = match place {
            Some(place) => &mut set[place],
            None => {
                let fullest = fullest(&set);
                // A full bucket says nothing; only an attack with many addresses finds none, and evicts the idlest.
                set[fullest] = Bucket { client: Some(client), tokens: self.rate * BURST, filled: Some(now) };
                &mut set[fullest]
            }
        };
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

fn fullest(set: &[Bucket; WAYS]) -> usize {
    let tokens = |index: &usize| {
        let bucket = &set[*index];
        if bucket.client.is_none() { f32::INFINITY } else { bucket.tokens }
    };
    (0..WAYS).max_by(|left, right| tokens(left).total_cmp(&tokens(right))).unwrap_or_default()
}

impl Bucket {
    fn fill(&mut self, rate: f32, now: Moment) {
        let Some(filled) = self.filled else { return };
        let passed = now.saturating_duration_since(filled);
        self.tokens = (self.tokens + passed.as_secs_f32() * rate).min(rate * BURST);
        self.filled = Some(now.max(filled));
    }
}

/// A network of IPv6 is one client: it has more addresses than any table.
fn subscriber(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::forward::Settings;

    fn clients(rate: u32) -> Clients {
        Clients::new(Settings::default().clients, rate)
    }

    #[test]
    fn strangers_are_not_admitted() {
        let clients = clients(0);
        for friend in
            ["127.0.0.1", "::1", "192.168.1.2", "100.64.0.1", "fe80::1", "fd00::1", "::ffff:10.0.0.1"]
        {
            assert!(clients.admits(friend.parse().unwrap()), "{friend}");
        }
        for stranger in ["8.8.8.8", "2001:db8::1", "::ffff:8.8.8.8", "172.32.0.1"] {
            assert!(!clients.admits(stranger.parse().unwrap()), "{stranger}");
        }
    }

    #[test]
    fn a_client_that_asks_too_much_waits_and_others_do_not() {
        let (clients, now) = (clients(10), Instant::now());
        let noisy = "192.168.1.2".parse().unwrap();
        let allowed = (0..1000).filter(|_| clients.allows(noisy, now)).count();
        assert_eq!(allowed, 50);
        assert!(clients.allows("192.168.1.3".parse().unwrap(), now));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..1000).filter(|_| clients.allows(noisy, later)).count(), 10);
    }

    #[test]
    fn this_machine_and_no_limit_are_never_refused() {
        let now = Instant::now();
        let limited = clients(1);
        assert!((0..1000).all(|_| limited.allows("127.0.0.1".parse().unwrap(), now)));
        assert!((0..1000).all(|_| limited.allows("::1".parse().unwrap(), now)));
        assert!((0..1000).all(|_| clients(0).allows("10.0.0.1".parse().unwrap(), now)));
    }

    #[test]
    fn addresses_of_one_network_share_a_bucket() {
        let (clients, now) = (clients(1), Instant::now());
        let allowed = (0..1000u128)
            .filter(|host| {
                let address = u128::from("fd00::".parse::<Ipv6Addr>().unwrap()) + host;
                clients.allows(IpAddr::V6(address.into()), now)
            })
            .count();
        assert_eq!(allowed, 5);
    }

    #[test]
    fn an_attack_with_many_addresses_frees_no_client_that_is_spent() {
        let (clients, now) = (clients(1), Instant::now());
        let noisy = "10.0.0.1".parse().unwrap();
        while clients.allows(noisy, now) {}
        for other in 0..20_000u32 {
            clients.allows(IpAddr::V4((0x0b00_0000 + other).into()), now);
        }
        assert!(!clients.allows(noisy, now));
    }
}
