//! Owns the authority's own keys: made when they are first needed, sealed in their records, rotated with an overlap in
//! which peers trust the old one and the new one.

use std::time::Duration;

use effect::{Code, Error, Hidden, Result, Timestamp};
use journal::Expect;
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;
use ssh_key::public::{Ed25519PublicKey, KeyData};

use super::key::{fingerprint, line};
use super::{Kind, Settings, Store, decode, issue};
use crate::key::{Key, KeyType};

/// The kind of its records, named `user/1`, `host/2`.
const RECORD: &str = "ssh-authority";
/// Raw Ed25519 keys stand at the end of their SubjectPublicKeyInfo (RFC 8410, section 4).
const RAW: usize = 32;

/// One key of the authority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Authority {
    /// Whose certificates it signs.
    pub kind: Kind,
    /// The first has 1.
    pub generation: u32,
    /// The public key in one line.
    pub public: String,
    /// What `ssh-keygen -l` shows of it.
    pub fingerprint: String,
    /// The private key, sealed.
    key: Hidden,
    /// When it was made, in unix milliseconds.
    pub made_at: i64,
    /// From when on it signs.
    pub signs_from: i64,
    /// Until when certificates by it can be valid, once a younger one takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_until: Option<i64>,
}

impl Authority {
    fn make(store: &Store<'_>, kind: Kind, generation: u32, signs_from: Timestamp) -> Result<Self> {
        let key = Key::generate(KeyType::Ed25519)?;
        let public = public_of(&key)?;
        Ok(Self {
            kind,
            generation,
            public: line(&public)?,
            fingerprint: fingerprint(&public),
            key: store.sealer.hide(key.to_pem().as_bytes()),
            made_at: store.now.0,
            signs_from: signs_from.0,
            trusted_until: None,
        })
    }

    fn name(&self) -> String {
        format!("{}/{}", self.kind.as_str(), self.generation)
    }

    /// The private key.
    ///
    /// # Errors
    /// `MC-J007` where the record cannot be opened or was damaged.
    pub(super) fn open(&self, store: &Store<'_>) -> Result<Key> {
        let broken = || Error::new(Code::JournalBroken, "the key of the SSH authority is damaged");
        let pem = store.sealer.open_hidden(&self.key)?;
        let key = Key::from_pem(std::str::from_utf8(&pem).map_err(|_| broken())?)?;
        // A key that is not the one peers were told would sign certificates that nobody accepts.
        if line(&public_of(&key)?)? == self.public { Ok(key) } else { Err(broken()) }
    }

    fn is_trusted(&self, now: Timestamp) -> bool {
        self.trusted_until.is_none_or(|until| now.0 < until)
    }
}

fn public_of(key: &Key) -> Result<PublicKey> {
    let info = key.public();
    let raw =
        info.last_chunk::<RAW>().ok_or_else(|| Error::new(Code::Internal, "a public key is too short"))?;
    Ok(PublicKey::new(KeyData::Ed25519(Ed25519PublicKey(*raw)), ""))
}

/// Every key of a kind, the oldest first; the first one is made when there is none, unless nothing may be made.
///
/// # Errors
/// Where the journal cannot be used.
pub async fn all(store: &Store<'_>, kind: Kind) -> Result<Vec<Authority>> {
    loop {
        let found = recorded(store, kind).await?;
        if !found.is_empty() || !store.may_make {
            return Ok(found);
        }
        let first = Authority::make(store, kind, 1, Timestamp(0))?;
        let write = store.write(RECORD, &first.name(), &first, Expect::Absent)?;
        match store.journal.write(vec![write]).await {
            // Somebody else was faster: theirs counts.
            Ok(()) | Err(journal::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn recorded(store: &Store<'_>, kind: Kind) -> Result<Vec<Authority>> {
    let mut found: Vec<Authority> = store.read_all(RECORD).await?;
    found.retain(|authority| authority.kind == kind);
    found.sort_by_key(|authority| authority.generation);
    Ok(found)
}

/// The keys of a kind that peers should trust now, the oldest first.
///
/// # Errors
/// Where the journal cannot be used.
pub async fn trusted(store: &Store<'_>, kind: Kind) -> Result<Vec<Authority>> {
    let mut keys = all(store, kind).await?;
    keys.retain(|authority| authority.is_trusted(store.now));
    Ok(keys)
}

/// The key that signs now.
///
/// # Errors
/// `MC-E007` where the clock is behind the moment at which that key was made.
pub async fn signing(store: &Store<'_>, kind: Kind) -> Result<Authority> {
    let keys = all(store, kind).await?;
    let signing = keys.into_iter().rfind(|authority| authority.signs_from <= store.now.0);
    let Some(signing) = signing else {
        return Err(Error::new(Code::Internal, "no key of the SSH authority signs yet"));
    };
    if store.now.0 < signing.made_at {
        let message =
            format!("the SSH authority was made at {}, after the present time", Timestamp(signing.made_at));
        return Err(Error::new(Code::ClockBehind, message));
    }
    Ok(signing)
}

/// Makes a new key for a kind. Peers should trust it at once; it signs after `announce`, and the one before it is trusted
/// until the last certificate by it has expired.
///
/// # Errors
/// `MC-E005` while an earlier rotation is still being announced.
pub async fn rotate(
    store: &Store<'_>,
    settings: &Settings,
    kind: Kind,
    announce: Duration,
) -> Result<Authority> {
    let mut keys = all(store, kind).await?;
    let Some(mut last) = keys.pop() else {
        return Err(Error::new(Code::Internal, "there is no key of the SSH authority"));
    };
    if store.now.0 < last.signs_from {
        let message = format!(
            "the SSH authority for {}s has a new key that signs from {} on",
            kind.as_str(),
            Timestamp(last.signs_from)
        );
        return Err(Error::new(Code::AuthorityInvalid, message)
            .hint("wait until then: peers are still learning of it"));
    }
    // The longest life may have been another when certificates were signed, so those are looked at too.
    let signed = issue::all(store).await?;
    let expiries =
        signed.iter().filter(|signed| signed.authority == last.public).map(|signed| signed.valid_before);
    let recorded = expiries.max().unwrap_or(0);
    let signs_from = store.now.after(announce);
    let next = Authority::make(store, kind, last.generation + 1, signs_from)?;
    last.trusted_until = Some(signs_from.after(settings.longest(kind)).0.max(recorded));
    let writes = vec![
        store.write(RECORD, &next.name(), &next, Expect::Absent)?,
        store.write(RECORD, &last.name(), &last, Expect::Present)?,
    ];
    match store.journal.write(writes).await {
        Ok(()) => Ok(next),
        Err(journal::Error::Conflict { .. }) => {
            // Another rotation was faster, and once is what was wanted.
            let record = store.journal.record(RECORD, store.node, &next.name()).await?;
            record.map_or(Ok(next), |record| decode(RECORD, &record.value))
        }
        Err(error) => Err(error.into()),
    }
}
