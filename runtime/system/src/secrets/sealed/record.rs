//! Owns the rows of the sealed store, and the cipher: XChaCha20-Poly1305 with the place of a row as what is authenticated
//! beside it, so that no row can be moved to another name, version or node, nor let go elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use effect::{Code, Error, Result, Timestamp};
use journal::Record;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::{DataKey, Settings, Source};

/// What is known of a secret without any key.
pub(super) const HEAD: &str = "secret";
/// One sealed value, `NAME@VERSION`.
pub(super) const VERSION: &str = "secret-version";
/// A sealed key, by its number.
pub(super) const KEY: &str = "secret-key";

/// What is known of a secret without any key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The version in force.
    pub latest: u32,
    /// Where it may go.
    pub to: Vec<String>,
    /// The versions that are kept, the oldest first.
    pub versions: Vec<Version>,
}

/// A version that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Its number, from 1.
    pub version: u32,
    /// When it was set.
    pub at: Timestamp,
    /// Who set it.
    pub by: String,
    /// The keyed hash of its value.
    pub tag: String,
}

impl Head {
    pub(super) fn of(record: &Record) -> Result<Self> {
        let head: Option<Self> = serde_json::from_str(&record.value).ok();
        head.filter(|head| head.versions.last().is_some_and(|last| last.version == head.latest)).ok_or_else(
            || {
                let message = format!("what is recorded of secret `{}` cannot be read", record.name);
                Error::new(Code::SecretBroken, message)
            },
        )
    }
}

/// One sealed value.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// The key that it is sealed with.
    pub(super) key: String,
    /// Nonce and ciphertext, base64.
    #[serde(rename = "box")]
    pub(super) sealed: String,
}

impl Row {
    pub(super) fn of(record: &Record) -> Option<Self> {
        serde_json::from_str(&record.value).ok()
    }
}

/// A key, sealed with what `[secrets_store]` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealedKey {
    /// What opens it.
    pub(super) by: Source,
    /// Nonce and ciphertext, base64.
    #[serde(rename = "box")]
    pub(super) sealed: String,
    /// Whether a newer one takes its place.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) retired: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl SealedKey {
    pub(super) fn of(record: &Record) -> Result<Self> {
        serde_json::from_str(&record.value).map_err(|_| {
            let message = format!("the key {} of the sealed store cannot be read", record.name);
            Error::new(Code::SecretBroken, message)
                .hint("restore the state directory from a backup: without its key nobody can open the store")
        })
    }

    pub(super) async fn seal(
        settings: &Settings,
        sealer: &effect::Sealer,
        (node, name): (&str, &str),
        key: &DataKey,
    ) -> Result<Self> {
        let by = settings.new_source();
        let outer = by.key(settings, sealer).await?;
        let place = key_place(node, name, &by);
        Ok(Self { sealed: seal(&outer, &place, &**key), by, retired: false })
    }

    pub(super) async fn open(
        &self,
        settings: &Settings,
        sealer: &effect::Sealer,
        (node, name): (&str, &str),
    ) -> Result<DataKey> {
        settings.check_source(&self.by)?;
        let outer = self.by.key(settings, sealer).await?;
        let opened = open(&outer, &key_place(node, name, &self.by), &self.sealed);
        let key = opened.and_then(|opened| opened.first_chunk::<32>().map(|key| Zeroizing::new(*key)));
        key.ok_or_else(|| {
            Error::new(Code::SecretsSealed, "the sealed store is sealed with another key")
                .because(format!("{} does not open it", settings.shown()))
        })
    }

    /// What opens it, for people.
    pub(super) fn by(&self) -> &'static str {
        self.by.as_str()
    }
}

/// The name of a version's row: they are sorted by number.
pub(super) fn row_name(name: &str, version: u32) -> String {
    format!("{name}@{version:010}")
}

/// The name and version of a row.
pub(super) fn of_row_name(row: &str) -> Option<(&str, u32)> {
    let (name, version) = row.rsplit_once('@')?;
    Some((name, version.parse().ok()?))
}

/// Where a value belongs: authenticated with it. JSON, because its parts cannot run into one another.
pub(super) fn place(node: &str, name: &str, version: u32, key: &str, to: &[String]) -> Vec<u8> {
    place_of(&("mcrun secret 1", VERSION, node, name, version, key, to))
}

fn key_place(node: &str, name: &str, by: &Source) -> Vec<u8> {
    place_of(&("mcrun secret key 1", KEY, node, name, by))
}

fn place_of(parts: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(parts).expect("names and numbers are JSON")
}

/// Seals `plain` for `place`: nonce and ciphertext in base64.
pub(super) fn seal(key: &[u8; 32], place: &[u8], plain: &[u8]) -> String {
    let mut nonce = [0; 24];
    effect::secret::fill_random(&mut nonce);
    let sealed = XChaCha20Poly1305::new(&Key::from(*key))
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: place })
        .expect("XChaCha20-Poly1305 encrypts anything shorter than 256 GiB");
    STANDARD_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
}

/// Opens what was sealed for `place`; nothing where it was not, or was altered.
pub(super) fn open(key: &[u8; 32], place: &[u8], sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = STANDARD_NO_PAD.decode(sealed).ok()?;
    let (nonce, sealed) = bytes.split_first_chunk::<24>()?;
    let payload = Payload { msg: sealed, aad: place };
    let opened = XChaCha20Poly1305::new(&Key::from(*key)).decrypt(&XNonce::from(*nonce), payload);
    opened.ok().map(Zeroizing::new)
}

pub(super) fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        Error::new(Code::Internal, "a row of the sealed store cannot be encoded").because(error)
    })
}
