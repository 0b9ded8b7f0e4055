//! Owns sign-ins that wait for a second factor: who has shown the first one, until they show the other. Only in memory, each
//! under a random handle in a cookie of the browser that it began in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use effect::{Result, Timestamp};
use zeroize::Zeroizing;

use super::Web;
use super::answer::Refused;
use super::onward::Onward;
use crate::credentials::{self, Factor, First};
use crate::passkey::Assertion;
use crate::random;

/// The cookie with the handle.
pub(super) const COOKIE: &str = "__Host-mcias-pending";
const LIFE: Duration = Duration::from_secs(5 * 60);
const MOST: usize = 4096;
/// Of one name, so that nobody who may sign in drives out those of others.
const MOST_OF_NAME: usize = 16;

/// What was shown first.
#[derive(Clone)]
pub(super) enum Shown {
    Password(Zeroizing<String>),
    External(String),
    /// It is used up together with the second factor, so it is shown again.
    Passkey(Box<Assertion>),
}

impl Shown {
    pub(super) fn first<'a>(&'a self, web: &'a Web) -> std::result::Result<First<'a>, Refused> {
        Ok(match self {
            Self::Password(password) => First::Password(password),
            Self::External(account) => First::External { account },
            Self::Passkey(answer) => First::Passkey(credentials::Shown { relying: web.relying()?, answer }),
        })
    }
}

/// A sign-in that waits.
#[derive(Clone)]
pub(super) struct Half {
    pub(super) name: String,
    pub(super) shown: Shown,
    pub(super) factors: Vec<Factor>,
    pub(super) onward: Onward,
}

/// Those that wait.
#[derive(Default)]
pub(super) struct Pending(Mutex<HashMap<[u8; 32], (Half, Timestamp)>>);

impl Pending {
    /// Keeps one, and gives the handle. Where too many wait, those that wait longest give way.
    pub(super) fn keep(&self, half: Half, now: Timestamp) -> Result<String> {
        let handle = random::token::<32>()?;
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        halves.retain(|_, (_, until)| now < *until);
        let of_name = halves.values().filter(|(other, _)| other.name == half.name).count();
        let gives_way = |other: &Half| of_name < MOST_OF_NAME || other.name == half.name;
        if halves.len() >= MOST || of_name >= MOST_OF_NAME {
            let oldest = halves.iter().filter(|(_, (other, _))| gives_way(other));
            let oldest = oldest.min_by_key(|(_, (_, until))| *until).map(|(key, _)| *key);
            oldest.and_then(|oldest| halves.remove(&oldest));
        }
        halves.insert(random::sha256(handle.as_bytes()), (half, now.after(LIFE)));
        Ok(handle)
    }

    /// The one of a handle.
    pub(super) fn find(&self, handle: Option<&str>, now: Timestamp) -> Option<Half> {
        let halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (half, until) = halves.get(&random::sha256(handle?.as_bytes()))?;
        (now < *until).then(|| half.clone())
    }

    /// Forgets it: it was used.
    pub(super) fn forget(&self, handle: Option<&str>) {
        if let Some(handle) = handle {
            let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            halves.remove(&random::sha256(handle.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_found_for_a_while_and_once_it_was_used_no_more() {
        let (pending, now) = (Pending::default(), Timestamp(1_700_000_000_000));
        let shown = Shown::Password(Zeroizing::new("a password".into()));
        let half = Half { name: "alice".into(), shown, factors: Vec::new(), onward: Onward::home() };
        let handle = pending.keep(half.clone(), now).unwrap();
        let other = pending.keep(half.clone(), now).unwrap();
        assert_eq!(pending.find(Some(&handle), now).unwrap().name, "alice");
        assert!(pending.find(Some("another"), now).is_none() && pending.find(None, now).is_none());
        pending.forget(Some(&handle));
        assert!(pending.find(Some(&handle), now).is_none());
        assert!(pending.find(Some(&other), now.after(LIFE)).is_none());
        // Whoever may sign in and begins again and again drives nobody else out.
        let bobs = Half { name: "bob".into(), ..half.clone() };
        let bobs = pending.keep(bobs, now).unwrap();
        let all: Vec<String> = (0..=MOST).map(|_| pending.keep(half.clone(), now).unwrap()).collect();
        assert_eq!(
            all.iter().chain([&other]).filter(|handle| pending.find(Some(handle), now).is_some()).count(),
            MOST_OF_NAME
        );
        assert!(pending.find(Some(&bobs), now).is_some());
    }
}
