//! Owns challenges: random, sealed with what they are for and until when, so that giving one away costs no record and nobody
//! fills a table by asking. Which were used is on record (see the embedded service).

use aws_lc_rs::hmac;
use effect::{Result, Sealer, Timestamp};

use super::{Refusal, TIME};
use crate::random;

const RANDOM: usize = 16;
const EXPIRY: usize = 8;
const TAG: usize = 32;

/// What a challenge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    /// Making a passkey for the account with this id.
    Register(&'a str),
    /// Signing in, as whoever it will be.
    SignIn,
}

/// Makes and knows challenges.
pub(crate) struct Challenges {
    key: hmac::Key,
}

impl Challenges {
    pub(crate) fn new(sealer: &Sealer) -> Self {
        let key = sealer.derived("mcrun mcias challenges of passkeys 1");
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &*key) }
    }

    /// A new one.
    pub(crate) fn make(&self, purpose: Purpose<'_>, now: Timestamp) -> Result<String> {
        let random = random::bytes::<RANDOM>()?;
        let expiry = now.after(TIME).0.to_be_bytes();
        let tag = hmac::sign(&self.key, &signed(purpose, &*random, &expiry));
        Ok(random::encoded(&[&random[..], &expiry, tag.as_ref()].concat()))
    }

    /// Until when this one is taken, where it is one of ours and for that.
    pub(super) fn check(
        &self,
        challenge: &[u8],
        purpose: Purpose<'_>,
        now: Timestamp,
    ) -> Result<Timestamp, Refusal> {
        let (parts, tag) = challenge.split_at_checked(RANDOM + EXPIRY).ok_or(Refusal::Challenge)?;
        let (random, expiry) = parts.split_first_chunk::<RANDOM>().ok_or(Refusal::Challenge)?;
        if tag.len() != TAG || hmac::verify(&self.key, &signed(purpose, random, expiry), tag).is_err() {
            return Err(Refusal::Challenge);
        }
        let until = expiry.try_into().map(|expiry| Timestamp(i64::from_be_bytes(expiry)));
        // A clock that went back makes none live longer.
        until.ok().filter(|until| now < *until && *until <= now.after(TIME)).ok_or(Refusal::Challenge)
    }
}

fn signed(purpose: Purpose<'_>, random: &[u8], expiry: &[u8]) -> Vec<u8> {
    let (word, account) = match purpose {
        Purpose::Register(account) => (b'r', account),
        Purpose::SignIn => (b's', ""),
    };
    [&[word], random, expiry, account.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn a_challenge_is_for_one_purpose_and_a_short_time() {
        let (challenges, now) = (Challenges::new(&Sealer::ephemeral()), Timestamp(1_700_000_000_000));
        let made = challenges.make(Purpose::Register("one"), now).unwrap();
        assert_ne!(made, challenges.make(Purpose::Register("one"), now).unwrap());
        let made = URL_SAFE_NO_PAD.decode(made).unwrap();
        let check = |purpose, at| challenges.check(&made, purpose, at);
        assert_eq!(check(Purpose::Register("one"), now), Ok(now.after(TIME)));
        for (purpose, at) in [
            (Purpose::Register("two"), now),
            (Purpose::SignIn, now),
            (Purpose::Register("one"), now.after(TIME)),
            (Purpose::Register("one"), Timestamp(now.0 - 1)),
        ] {
            assert_eq!(check(purpose, at), Err(Refusal::Challenge));
        }
        for at in 0..made.len() {
            let mut other = made.clone();
            other[at] ^= 1;
            assert!(challenges.check(&other, Purpose::Register("one"), now).is_err(), "octet {at}");
            assert!(challenges.check(&made[..at], Purpose::Register("one"), now).is_err(), "{at} octets");
        }
        let elsewhere = Challenges::new(&Sealer::ephemeral());
        assert!(elsewhere.check(&made, Purpose::Register("one"), now).is_err());
    }
}
