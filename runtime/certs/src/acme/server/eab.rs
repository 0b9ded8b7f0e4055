//! Owns the keys of the external account binding (RFC 8555, section 7.3.4): who holds one may register, and is bound to
//! a service. The keys are kept sealed. Whoever takes one away stops the accounts that came with it.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use effect::{Code, Error, Hidden, Result, Sealer, Timestamp};
use journal::{Expect, Journal, Write};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::jwk::Jwk;
use super::jws::{Identity, Jws};
use super::problem::{Kind, Outcome, Problem};
use super::record::EAB;
use super::{random, store::Store};

/// As long as what HS256 makes of it (RFC 7518, section 3.2).
const KEY_BYTES: usize = 32;
const LONGEST_SERVICE: usize = 253;

/// A key as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Binding {
    pub(super) service: String,
    pub(super) key: Hidden,
    pub(super) made: Timestamp,
}

/// A new key, which is told this once.
#[derive(Debug)]
pub struct Made {
    /// Its id, `--eab-kid` of certbot and `--kid` of lego.
    pub id: String,
    /// The key in base64url, `--eab-hmac-key` and `--hmac`.
    pub key: Zeroizing<String>,
}

/// A key without what is secret about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The service that accounts are bound to with it.
    pub service: String,
    /// When it was made, in unix milliseconds.
    pub made: Timestamp,
}

/// Makes a key for `service`. Durable on return.
///
/// # Errors
/// `MC-E001` where no service can be called so; else where the journal cannot record it.
pub async fn add(journal: &Journal, sealer: &Sealer, node: &str, service: &str) -> Result<Made> {
    let is_name =
        !service.is_empty() && service.len() <= LONGEST_SERVICE && !service.chars().any(char::is_control);
    if !is_name {
        let shown: String = service.chars().filter(|one| !one.is_control()).take(80).collect();
        return Err(Error::new(Code::CertificateName, format!("no service can be called `{shown}`"))
            .hint("a service has a name of 1 to 253 characters"));
    }
    let failed = || Error::new(Code::Internal, "this machine has no randomness");
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    SystemRandom::new().fill(&mut *key).map_err(|_| failed())?;
    let id = random::word().map_err(|_| failed())?;
    let binding =
        Binding { service: service.to_owned(), key: sealer.hide(&*key), made: journal.clock().now() };
    let value = serde_json::to_string(&binding).map_err(|error| failed().because(error))?;
    let write = Write {
        kind: EAB.into(),
        node: node.into(),
        name: id.clone(),
        value: Some(value),
        expect: Expect::Absent,
    };
    journal.write(vec![write]).await?;
    Ok(Made { id, key: Zeroizing::new(URL_SAFE_NO_PAD.encode(*key)) })
}

/// The keys that there are, the oldest first.
///
/// # Errors
/// Where the journal cannot be read.
pub async fn list(journal: &Journal, node: &str) -> Result<Vec<Listed>> {
    let broken = |error| Error::new(Code::JournalBroken, "a recorded ACME key cannot be read").because(error);
    let listed = |record: journal::Record| {
        let binding: Binding = serde_json::from_str(&record.value).map_err(broken)?;
        Ok(Listed { id: record.name, service: binding.service, made: binding.made })
    };
    let mut keys =
        journal.records(EAB, Some(node)).await?.into_iter().map(listed).collect::<Result<Vec<Listed>>>()?;
    keys.sort_by_key(|key| key.made);
    Ok(keys)
}

/// Takes a key away. Accounts that were bound with it get no more certificates. Durable on return.
///
/// # Errors
/// `MC-E020` where there is no such key.
pub async fn remove(journal: &Journal, node: &str, id: &str) -> Result<()> {
    let write =
        Write { kind: EAB.into(), node: node.into(), name: id.into(), value: None, expect: Expect::Present };
    match journal.write(vec![write]).await {
        Err(journal::Error::Conflict { .. }) => {
            let shown: String = id.chars().take(80).collect();
            Err(Error::new(Code::AcmeKeyUnknown, format!("there is no key `{shown}` of an ACME client")))
        }
        other => Ok(other?),
    }
}

/// Checks a binding that came with a registration; then, the id of its key and the service.
pub(super) async fn check(
    store: &Store,
    sealer: &Sealer,
    binding: &serde_json::Value,
    url: &str,
    key: &Jwk,
) -> Outcome<(String, String)> {
    // One answer for every reason: nobody learns which keys there are.
    let refused = || Problem::unauthorized("the external account binding is not right");
    let jws = Jws::from_bytes(binding.to_string().as_bytes())?;
    let Identity::Kid(id) = &jws.identity else { return Err(refused()) };
    if jws.algorithm != "HS256" {
        return Err(Problem::new(
            Kind::BadSignatureAlgorithm,
            "an external account binding is signed with HS256",
        ));
    }
    if jws.nonce.is_some() || jws.url != url {
        return Err(Problem::malformed("an external account binding has the outer `url` and no `nonce`"));
    }
    let bound: serde_json::Value = jws.says()?;
    if Jwk::from_json(&bound)? != *key {
        return Err(Problem::malformed("the external account binding is for another key"));
    }
    let found = if random::is_word(id) { store.read::<Binding>(EAB, id).await? } else { None };
    let found = found.ok_or_else(refused)?;
    let shared = sealer.open_hidden(&found.key)?;
    let shared = hmac::Key::new(hmac::HMAC_SHA256, &shared);
    hmac::verify(&shared, jws.signed.as_bytes(), &jws.signature).map_err(|_| refused())?;
    Ok((id.clone(), found.service))
}
