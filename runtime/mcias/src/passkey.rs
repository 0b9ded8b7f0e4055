//! Owns passkeys (W3C Web Authentication, Level 3): what a browser is asked for, and whether its answer is right. Pure
//! functions over octets. Leaves challenges, counters and whose key it is to the embedded service.

mod answer;
mod cbor;
mod challenge;
mod key;

use effect::{Code, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use answer::{Asserted, Registered, Spent};
pub use answer::{Assertion, Registration, read};
pub(crate) use challenge::{Challenges, Purpose};
use key::ALGORITHMS;

use crate::random;

/// For how long a challenge is taken, and a browser waits for its owner.
pub(crate) const TIME: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// The party that passkeys are for: a domain, and the one origin from which pages may ask for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relying {
    id: String,
    origin: String,
}

impl Relying {
    /// The party of `url`, such as `https://mcias.example:8443`.
    ///
    /// # Errors
    /// `MC-U002` where a browser would take no passkey from there.
    pub fn of(url: &str) -> Result<Self> {
        let wrong = || Error::new(Code::Config, "mcias.url: passkeys take `https://` and the name of a host");
        let origin = url.strip_suffix('/').unwrap_or(url).to_ascii_lowercase();
        let authority = origin.strip_prefix("https://").ok_or_else(wrong)?;
        let (id, port) = authority.split_once(':').map_or((authority, None), |(id, port)| (id, Some(port)));
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        // An address is no domain, and no browser makes a passkey for one.
        let is_domain = id.chars().all(fits) && id.rsplit('.').next().is_some_and(has_letter);
        if !is_domain || !is_port {
            return Err(wrong());
        }
        let origin = origin.strip_suffix(":443").unwrap_or(&origin).to_owned();
        Ok(Self { id: id.to_owned(), origin })
    }

    fn hash(&self) -> [u8; 32] {
        random::sha256(self.id.as_bytes())
    }
}

fn has_letter(label: &str) -> bool {
    label.contains(|c: char| c.is_ascii_alphabetic())
}

/// Why a passkey is refused. For the audit: whoever showed it learns nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It cannot be read.
    Malformed,
    /// It is an answer to another question: a registration where a sign-in was asked for, or the other way round.
    Kind,
    /// Its challenge is not ours, is for something else, or is over.
    Challenge,
    /// Its challenge was used.
    Replayed,
    /// A page of another origin asked for it.
    Origin,
    /// It is for another party.
    Party,
    /// Nobody was there.
    NotPresent,
    /// Whoever was there was not verified.
    NotVerified,
    /// What it says of copies contradicts itself, or what it said before.
    Backup,
    /// There is no such key here, or it is not this account's.
    UnknownKey,
    /// It is for another account.
    UserHandle,
    /// Its key is of a kind that is not taken.
    Algorithm,
    /// Its signature is wrong.
    Signature,
    /// Its counter did not grow: there is a copy of the key somewhere.
    Counter,
}

impl Refusal {
    /// The reason in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Malformed => "it cannot be read",
            Self::Kind => "it is the answer to another question",
            Self::Challenge => "its challenge is not ours, is for something else, or is over",
            Self::Replayed => "its challenge was used",
            Self::Origin => "a page of another origin asked for it",
            Self::Party => "it is for another party",
            Self::NotPresent => "nobody was there",
            Self::NotVerified => "whoever was there was not verified",
            Self::Backup => "what it says of copies contradicts itself",
            Self::UnknownKey => "there is no such key of this account",
            Self::UserHandle => "it is for another account",
            Self::Algorithm => "its key is of a kind that is not taken",
            Self::Signature => "its signature is wrong",
            Self::Counter => "its counter did not grow, as with a copy of the key",
        }
    }
}

/// What a browser is to make a passkey from (`PublicKeyCredentialCreationOptionsJSON`).
pub(crate) fn creation(
    relying: &Relying,
    challenge: &str,
    user: (&str, &str),
    known: &[&str],
    issuer: &str,
) -> Value {
    let (handle, name) = user;
    let known: Vec<Value> = known.iter().map(|id| json!({ "type": "public-key", "id": id })).collect();
    let algorithms: Vec<Value> =
        ALGORITHMS.iter().map(|alg| json!({ "type": "public-key", "alg": alg })).collect();
    json!({
        "challenge": challenge,
        "rp": { "id": relying.id, "name": issuer },
        "user": { "id": handle, "name": name, "displayName": name },
        "pubKeyCredParams": algorithms,
        "timeout": TIME.as_millis(),
        "excludeCredentials": known,
        // Found by the party's domain alone, so that nobody is told which keys a name has.
        "authenticatorSelection": {
            "residentKey": "required", "requireResidentKey": true, "userVerification": "preferred",
        },
        "attestation": "none",
    })
}

/// What a browser is to ask a passkey for (`PublicKeyCredentialRequestOptionsJSON`). The same for everybody.
pub(crate) fn request(relying: &Relying, challenge: &str, is_first: bool) -> Value {
    json!({
        "challenge": challenge,
        "rpId": relying.id,
        "timeout": TIME.as_millis(),
        // Alone it has to show who holds it as well.
        "userVerification": if is_first { "required" } else { "preferred" },
        "allowCredentials": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_is_a_domain_by_https() {
        for (url, id, origin) in [
            ("https://mcias.example", "mcias.example", "https://mcias.example"),
            ("https://MCIAS.example:443/", "mcias.example", "https://mcias.example"),
            ("https://localhost:8443", "localhost", "https://localhost:8443"),
        ] {
            let relying = Relying::of(url).unwrap();
            assert_eq!((relying.id.as_str(), relying.origin.as_str()), (id, origin));
        }
        for url in
            ["http://mcias.example", "https://192.0.2.1", "https://[::1]", "https://a/b", "https://a:0", ""]
        {
            assert_eq!(Relying::of(url).unwrap_err().code, Code::Config, "{url}");
        }
    }
}
