//! Owns what every test needs: a peer with its driver, sets and names as texts, and errors that are expected.

use std::sync::Arc;

use async_trait::async_trait;
use dns::Secrets;
use dns::{Driver, Name, RecordSet, RecordType};
use effect::{Code, Error, Result, Timestamp};
use journal::{Clock, SystemClock};
use zeroize::Zeroizing;

/// The zone that every peer has.
pub(crate) const ZONE: &str = "mcrun.test";
/// The key of the tests, as `tsig-keygen` would have printed it.
pub(crate) const KEY: &str = "bWNydW4tdGVzdC1rZXktMDEyMzQ1Njc4OWFiY2RlZg==";

/// A server with the driver that leads to it. It serves [`ZONE`] with the name servers `ns1` and `ns2` and an address of
/// `ns1`, and nothing else.
pub(crate) trait Peer: Send + Sync {
    fn driver(&self) -> Arc<dyn Driver>;

    /// Whether a change that changes nothing leaves the serial alone.
    fn keeps_its_serial(&self) -> bool {
        true
    }

    /// Whether it takes records of this type.
    fn has(&self, _: RecordType) -> bool {
        true
    }

    /// Whether it takes this name.
    fn takes(&self, _: &str) -> bool {
        true
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::within(text, &zone()).unwrap()
}

pub(crate) fn zone() -> Name {
    Name::absolute(ZONE).unwrap()
}

pub(crate) fn rtype(text: &str) -> RecordType {
    text.parse().unwrap()
}

pub(crate) fn set(name: &str, kind: &str, ttl: u32, values: &[&str]) -> RecordSet {
    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    RecordSet::parse(&zone(), name, rtype(kind), ttl, &values)
        .unwrap_or_else(|error| panic!("{name} {kind}: {error}"))
}

/// The error of `outcome`, which has to be of `code` and to contain `words`.
#[track_caller]
pub(crate) fn assert_failed<T: std::fmt::Debug>(outcome: Result<T>, code: Code, words: &str) -> Error {
    let error = outcome.unwrap_err();
    let told = format!("{error} {:?} {:?}", error.hint, error.details);
    assert_eq!(error.code, code, "{told}");
    assert!(told.contains(words), "{told}");
    error
}

/// Secrets that may go anywhere, each with the same value.
pub(crate) struct Same(pub(crate) &'static str);

#[async_trait]
impl effect::Secrets for Same {
    async fn reveal(&self, _: &str) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(self.0.as_bytes().to_vec()))
    }

    fn may_go(&self, _: &str, _: &str) -> Result<bool> {
        Ok(true)
    }
}

pub(crate) fn secrets(value: &'static str, destination: &'static str) -> Secrets {
    Secrets::new(Arc::new(Same(value)), destination)
}

/// A clock that is some seconds off.
pub(crate) struct Off(pub(crate) i64);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0 * 1000)
    }
}

pub(crate) fn update_parts() -> dns::rfc2136::Parts {
    dns::rfc2136::Parts { secrets: secrets(KEY, "dns:rfc2136"), clock: Arc::new(SystemClock) }
}
