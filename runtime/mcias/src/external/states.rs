//! Owns sign-ins that are under way elsewhere: what was asked for, by which browser. Each is used once, and only for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use effect::{Result, Timestamp};
use zeroize::Zeroizing;

use super::locale::Locale;
use crate::attempts::network;
use crate::name::Name;
use crate::random;

/// The cookie that binds one to the browser that it began in.
pub(crate) const COOKIE: &str = "__Host-mcias-external";
const LIFE: Duration = Duration::from_secs(10 * 60);
const MOST: usize = 16_384;
/// From one address, so that nobody drives out what others began.
const MOST_OF_ADDRESS: usize = 64;

/// One that is under way.
pub(crate) struct Entry {
    pub(crate) provider: Name,
    /// Where the browser goes in the end; a path of ours.
    pub(crate) next: String,
    /// The account that it is to be linked to, for whoever is signed in.
    pub(crate) link: Option<Name>,
    pub(crate) nonce: String,
    pub(crate) verifier: Zeroizing<String>,
    /// The language that they like.
    pub(crate) locale: Option<Locale>,
}

struct Kept {
    entry: Entry,
    browser: [u8; 32],
    address: IpAddr,
    until: Timestamp,
}

/// Those that are under way.
#[derive(Default)]
pub(crate) struct States(Mutex<HashMap<[u8; 32], Kept>>);

impl States {
    /// Keeps one under a state of its own, for the browser with this cookie. False where too many are under way.
    pub(crate) fn keep(
        &self,
        (state, browser): (&str, &str),
        entry: Entry,
        address: IpAddr,
        now: Timestamp,
    ) -> bool {
        let address = network(address);
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|_, kept| now < kept.until);
        let of_address = states.values().filter(|kept| kept.address == address).count();
        if states.len() >= MOST || of_address >= MOST_OF_ADDRESS {
            return false;
        }
        let browser = random::sha256(browser.as_bytes());
        states.insert(
            random::sha256(state.as_bytes()),
            Kept { entry, browser, address, until: now.after(LIFE) },
        );
        true
    }

    /// Takes one: whoever comes with the same state again finds nothing, and neither does whoever comes with another
    /// browser or from another provider.
    pub(crate) fn take(
        &self,
        state: &str,
        browser: Option<&str>,
        provider: &Name,
        now: Timestamp,
    ) -> Option<Entry> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let browser = random::sha256(browser?.as_bytes());
        let key = random::sha256(state.as_bytes());
        // Whoever has not the browser must not use it up for whoever has.
        if states.get(&key)?.browser != browser {
            return None;
        }
        let kept = states.remove(&key)?;
        (now < kept.until && kept.entry.provider == *provider).then_some(kept.entry)
    }
}

/// A new state.
pub(crate) fn new() -> Result<String> {
    random::token::<32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            provider: "github".parse().unwrap(),
            next: "/account".into(),
            link: None,
            nonce: "n".into(),
            verifier: Zeroizing::new("v".into()),
            locale: Locale::read("de-AT"),
        }
    }

    #[test]
    fn a_state_is_for_one_browser_one_provider_one_time_and_a_while() {
        let (states, now) = (States::default(), Timestamp(1_700_000_000_000));
        let address = [192, 0, 2, 1].into();
        let (github, google) = ("github".parse().unwrap(), "google".parse().unwrap());
        for state in ["a", "b", "c"] {
            assert!(states.keep((state, "browser"), entry(), address, now));
        }
        assert!(states.take("a", Some("another"), &github, now).is_none());
        assert!(states.take("a", None, &github, now).is_none());
        let taken = states.take("a", Some("browser"), &github, now).unwrap();
        assert_eq!(taken.locale, Locale::read("de-AT"));
        assert!(states.take("a", Some("browser"), &github, now).is_none(), "it came again");
        assert!(states.take("b", Some("browser"), &google, now).is_none(), "a mix-up");
        assert!(states.take("c", Some("browser"), &github, now.after(LIFE)).is_none());
        for number in 0..MOST_OF_ADDRESS {
            assert!(states.keep((&number.to_string(), "browser"), entry(), address, now));
        }
        assert!(!states.keep(("more", "browser"), entry(), address, now));
        assert!(states.keep(("other", "browser"), entry(), [192, 0, 2, 2].into(), now));
        // Whoever has one address of IPv6 has more of them than there is room for.
        let of = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]);
        let kept = (0..200).filter(|host| states.keep((&format!("six{host}"), "b"), entry(), of(*host), now));
        assert_eq!(kept.count(), MOST_OF_ADDRESS);
    }
}
