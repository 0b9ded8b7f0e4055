//! Owns what a browser answers: reading it, and every check of the standard that needs no record (W3C Web Authentication,
//! sections 7.1 and 7.2).

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use effect::Timestamp;
use serde::Deserialize;

use super::cbor::{self, Value};
use super::challenge::{Challenges, Purpose};
use super::key::Key;
use super::{Refusal, Relying};
use crate::random;

/// Characters of each part; certificates of an attestation are the longest.
const LONGEST: usize = 32 << 10;
/// Octets of the id of a key.
pub(crate) const LONGEST_ID: usize = 1023;
/// The domain of [`read`].
const PARTY: &str = "mcias.example";

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const CAN_BE_COPIED: u8 = 1 << 3;
const IS_COPIED: u8 = 1 << 4;
const HAS_KEY: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;

/// What a browser answers when it made a passkey. Each part in base64url.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The key's id.
    pub id: String,
    /// `clientDataJSON`.
    pub client_data: String,
    /// `attestationObject`.
    pub attestation: String,
}

/// What a browser answers when it was asked for a passkey. Each part in base64url.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// The key's id.
    pub id: String,
    /// `clientDataJSON`.
    pub client_data: String,
    /// `authenticatorData`.
    pub authenticator_data: String,
    /// `signature`.
    pub signature: String,
    /// `userHandle`.
    #[serde(default)]
    pub user_handle: Option<String>,
}

/// A passkey as it was made.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) id: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) counter: u32,
    pub(crate) can_be_copied: bool,
    pub(crate) spent: Spent,
}

/// An answer that is right as far as it can be told without its key's record.
pub(crate) struct Asserted {
    pub(crate) id: Vec<u8>,
    pub(crate) counter: u32,
    pub(crate) is_verified: bool,
    pub(crate) can_be_copied: bool,
    pub(crate) user_handle: Option<Vec<u8>>,
    pub(crate) spent: Spent,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

/// A challenge that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Its SHA-256.
    pub(crate) hash: String,
    /// Until when it would have been taken.
    pub(crate) until: Timestamp,
}

/// What a browser says of itself. It may say more.
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    is_cross_origin: bool,
    #[serde(rename = "topOrigin", default)]
    top_origin: Option<String>,
}

/// What an authenticator says.
struct Said<'a> {
    party: &'a [u8],
    flags: u8,
    counter: u32,
    key: Option<(&'a [u8], &'a [u8])>,
}

impl Registration {
    pub(crate) fn check(
        &self,
        relying: &Relying,
        challenges: &Challenges,
        account: &str,
        now: Timestamp,
    ) -> Result<Registered, Refusal> {
        let client_data = decoded(&self.client_data)?;
        let purpose = Purpose::Register(account);
        let spent = check_client(&client_data, "webauthn.create", relying, challenges, purpose, now)?;
        let attestation = decoded(&self.attestation)?;
        let said = attested(&attestation)?;
        check_said(&said, relying)?;
        let (id, key) = said.key.ok_or(Refusal::Malformed)?;
        if id.is_empty() || id.len() > LONGEST_ID || decoded(&self.id)? != id {
            return Err(Refusal::Malformed);
        }
        Key::read(key)?;
        Ok(Registered {
            id: id.to_vec(),
            key: key.to_vec(),
            counter: said.counter,
            can_be_copied: said.flags & CAN_BE_COPIED != 0,
            spent,
        })
    }
}

impl Assertion {
    /// The id of the key that it claims to be of.
    pub(crate) fn id(&self) -> Result<Vec<u8>, Refusal> {
        let id = decoded(&self.id)?;
        if id.is_empty() || id.len() > LONGEST_ID { Err(Refusal::Malformed) } else { Ok(id) }
    }

    pub(crate) fn check(
        &self,
        relying: &Relying,
        challenges: &Challenges,
        now: Timestamp,
    ) -> Result<Asserted, Refusal> {
        let client_data = decoded(&self.client_data)?;
        let spent = check_client(&client_data, "webauthn.get", relying, challenges, Purpose::SignIn, now)?;
        let mut signed = decoded(&self.authenticator_data)?;
        let said = authenticator(&signed)?;
        check_said(&said, relying)?;
        if said.key.is_some() {
            return Err(Refusal::Malformed);
        }
        let (counter, flags) = (said.counter, said.flags);
        signed.extend_from_slice(&random::sha256(&client_data));
        Ok(Asserted {
            id: self.id()?,
            counter,
            is_verified: flags & VERIFIED != 0,
            can_be_copied: flags & CAN_BE_COPIED != 0,
            user_handle: self.user_handle.as_deref().map(decoded).transpose()?,
            spent,
            signed,
            signature: decoded(&self.signature)?,
        })
    }
}

impl Asserted {
    /// Whether the key `cose` signed it.
    pub(crate) fn verify(&self, cose: &[u8]) -> Result<(), Refusal> {
        Key::read(cose)?.verify(&self.signed, &self.signature)
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, Refusal> {
    if text.len() > LONGEST {
        return Err(Refusal::Malformed);
    }
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)
}

fn check_client(
    octets: &[u8],
    kind: &str,
    relying: &Relying,
    challenges: &Challenges,
    purpose: Purpose<'_>,
    now: Timestamp,
) -> Result<Spent, Refusal> {
    let said: ClientData = serde_json::from_slice(octets).map_err(|_| Refusal::Malformed)?;
    if said.kind != kind {
        return Err(Refusal::Kind);
    }
    // A page within a page of somebody else is asked by that one.
    if said.origin != relying.origin || said.is_cross_origin || said.top_origin.is_some() {
        return Err(Refusal::Origin);
    }
    let challenge = decoded(&said.challenge).map_err(|_| Refusal::Challenge)?;
    let until = challenges.check(&challenge, purpose, now)?;
    Ok(Spent { hash: random::encoded(&random::sha256(&challenge)), until })
}

fn check_said(said: &Said<'_>, relying: &Relying) -> Result<(), Refusal> {
    if constant_time::verify_slices_are_equal(said.party, &relying.hash()).is_err() {
        return Err(Refusal::Party);
    }
    if said.flags & PRESENT == 0 {
        return Err(Refusal::NotPresent);
    }
    if said.flags & IS_COPIED != 0 && said.flags & CAN_BE_COPIED == 0 {
        return Err(Refusal::Backup);
    }
    Ok(())
}

/// What the authenticator says within an attestation. Whoever attests it is read and not believed: no maker is trusted here
/// more than another.
fn attested(octets: &[u8]) -> Result<Said<'_>, Refusal> {
    let map = cbor::only(octets).ok_or(Refusal::Malformed)?;
    let format = map.named("fmt").and_then(Value::text).ok_or(Refusal::Malformed)?;
    let statement = map.named("attStmt").and_then(Value::pairs).ok_or(Refusal::Malformed)?;
    if map.pairs() != Some(3) || format.is_empty() || format == "none" && statement != 0 {
        return Err(Refusal::Malformed);
    }
    authenticator(map.named("authData").and_then(Value::bytes).ok_or(Refusal::Malformed)?)
}

fn authenticator(octets: &[u8]) -> Result<Said<'_>, Refusal> {
    said(octets).ok_or(Refusal::Malformed)
}

fn said(octets: &[u8]) -> Option<Said<'_>> {
    let (party, rest) = octets.split_at_checked(32)?;
    let (flags, rest) = rest.split_first()?;
    let (counter, mut rest) = rest.split_first_chunk::<4>()?;
    let mut key = None;
    if flags & HAS_KEY != 0 {
        let (_maker, after) = rest.split_at_checked(16)?;
        let (length, after) = after.split_first_chunk::<2>()?;
        let (id, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (_, end) = cbor::first(after)?;
        key = Some((id, &after[..after.len() - end.len()]));
        rest = end;
    }
    if flags & HAS_EXTENSIONS != 0 {
        let (extensions, end) = cbor::first(rest)?;
        extensions.pairs()?;
        rest = end;
    }
    rest.is_empty().then_some(Said { party, flags: *flags, counter: u32::from_be_bytes(*counter), key })
}

/// Reads whatever a browser could send: each part by itself, and as the answer to a challenge that is ours. For fuzzing.
///
/// # Panics
/// When an answer is taken that breaks what its record relies on, or a key that it brings has signed it.
pub fn read(octets: &[u8]) {
    let _ = attested(octets);
    let _ = authenticator(octets);
    let _ = Key::read(octets).map(|key| key.verify(b"message", octets));
    let _ = serde_json::from_slice::<ClientData>(octets);
    let _ = serde_json::from_slice::<Registration>(octets).map(|said| decoded(&said.attestation));
    let _ = serde_json::from_slice::<Assertion>(octets).map(|said| said.id());
    answered(octets);
}

/// Takes octets as what an authenticator says, with everything around it as it should be.
fn answered(octets: &[u8]) {
    let (relying, now) = (Relying { id: PARTY.into(), origin: format!("https://{PARTY}") }, Timestamp(1));
    let challenges = Challenges::new(&effect::Sealer::ephemeral());
    let client_data = |kind: &str, purpose| {
        let Ok(challenge) = challenges.make(purpose, now) else { return String::new() };
        let said = serde_json::json!({ "type": kind, "challenge": challenge, "origin": relying.origin });
        random::encoded(said.to_string().as_bytes())
    };
    let key = attested(octets).ok().and_then(|said| said.key.map(|(id, _)| id.to_vec()));
    let made = Registration {
        id: random::encoded(&key.unwrap_or_default()),
        client_data: client_data("webauthn.create", Purpose::Register("one")),
        attestation: random::encoded(octets),
    };
    let for_another = made.check(&relying, &challenges, "two", now).err();
    assert_eq!(for_another, Some(Refusal::Challenge), "a challenge is for one account");
    if let Ok(made) = made.check(&relying, &challenges, "one", now) {
        assert!((1..=LONGEST_ID).contains(&made.id.len()) && Key::read(&made.key).is_ok());
    }
    // The domain's hash is no chance hit: it stands before what follows it.
    let after = octets.get(32..).unwrap_or_default();
    let shown = Assertion {
        id: random::encoded(b"key"),
        client_data: client_data("webauthn.get", Purpose::SignIn),
        authenticator_data: random::encoded(&[&relying.hash()[..], after].concat()),
        signature: random::encoded(octets),
        user_handle: None,
    };
    if let Ok(shown) = shown.check(&relying, &challenges, now) {
        assert!(shown.verify(octets).is_err(), "nobody signed it");
    }
}
