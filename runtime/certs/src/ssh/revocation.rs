//! Owns what is revoked: certificates by serial number, key ids, and keys.

use effect::{Code, Error, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use super::key::{fingerprint, line, parse};
use super::krl::{self, Revoked};
use super::{Kind, Store, authority, issue};

/// The kind of its records.
const RECORD: &str = "ssh-revocation";

/// What is revoked: one of the three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Revocation {
    /// One certificate.
    Serial {
        /// Its serial number, decimal.
        serial: String,
        /// The authority that signed it, in one line.
        authority: String,
        /// The key that it is for, in one line.
        public_key: String,
        /// When it expires, in unix milliseconds; servers need not know of it after that.
        valid_before: i64,
    },
    /// Every certificate with a key id, those to come included.
    KeyId {
        /// The key id.
        key_id: String,
    },
    /// A key, and every certificate for it.
    PublicKey {
        /// The key in one line.
        public_key: String,
        /// SHA-256 of it, as `ssh-keygen -l` shows it.
        fingerprint: String,
    },
}

/// What to revoke, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A certificate.
    Serial(String),
    /// Certificates.
    KeyId(String),
    /// A key.
    PublicKey(Box<PublicKey>),
}

impl Target {
    /// Checks what was given: exactly one of the three.
    ///
    /// # Errors
    /// `MC-E031` where none or several are given, or a serial number or key id is none; `MC-E003` for the key.
    pub fn new(serial: Option<&str>, key_id: Option<&str>, public_key: Option<&str>) -> Result<Self> {
        let wrong = |message: &str| Error::new(Code::SshOrder, message);
        match (serial, key_id, public_key) {
            (Some(serial), None, None) => match serial.parse::<u64>() {
                // In one form only, because it names the record.
                Ok(number @ 1..) => Ok(Self::Serial(number.to_string())),
                _ => Err(wrong("a serial number is a decimal number above 0")),
            },
            (None, Some(key_id), None) => {
                super::order::check_key_id(key_id)?;
                Ok(Self::KeyId(key_id.to_owned()))
            }
            (None, None, Some(key)) => Ok(Self::PublicKey(Box::new(parse(key)?))),
            _ => Err(wrong("give one of `serial`, `key_id` and `public_key`")),
        }
    }

    /// Its name in records and capabilities: `serial/7`, `key-id/deploy`, `key/SHA256:…`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Serial(serial) => format!("serial/{serial}"),
            Self::KeyId(key_id) => format!("key-id/{key_id}"),
            Self::PublicKey(key) => format!("key/{}", fingerprint(key)),
        }
    }

    /// Everything that revoking it takes.
    ///
    /// # Errors
    /// `MC-E008` where no certificate has the serial number.
    pub async fn resolve(&self, store: &Store<'_>) -> Result<Revocation> {
        Ok(match self {
            Self::Serial(serial) => {
                let signed = issue::of_serial(store, serial).await?.ok_or_else(|| {
                    let message = format!("no SSH certificate has the serial number {serial}");
                    Error::new(Code::CertificateUnknown, message)
                        .hint("`ssh-keygen -L -f FILE` shows it; one that is lost is revoked by its key id or its key")
                })?;
                Revocation::Serial {
                    serial: signed.serial,
                    authority: signed.authority,
                    public_key: signed.public_key,
                    valid_before: signed.valid_before,
                }
            }
            Self::KeyId(key_id) => Revocation::KeyId { key_id: key_id.clone() },
            Self::PublicKey(key) => {
                Revocation::PublicKey { public_key: line(key)?, fingerprint: fingerprint(key) }
            }
        })
    }
}

/// The revocation under this name, if there is one.
///
/// # Errors
/// `MC-J007` where a record was damaged.
pub async fn find(store: &Store<'_>, target: &Target) -> Result<Option<Revocation>> {
    store.read(RECORD, &target.name()).await
}

/// What records it.
///
/// # Errors
/// Only where it cannot be encoded.
pub fn write(store: &Store<'_>, target: &Target, revocation: &Revocation) -> Result<journal::Write> {
    store.write(RECORD, &target.name(), revocation, journal::Expect::Any)
}

/// Refuses what is revoked.
pub(super) async fn check(store: &Store<'_>, key: &PublicKey, key_id: &str) -> Result<()> {
    for target in [Target::PublicKey(Box::new(key.clone())), Target::KeyId(key_id.to_owned())] {
        if find(store, &target).await?.is_some() {
            return Err(Error::new(
                Code::SshRevoked,
                format!("no certificate is signed for `{}`: it is revoked", target.name()),
            ));
        }
    }
    Ok(())
}

/// Everything that is revoked, for servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// In OpenSSH's binary form (PROTOCOL.krl).
    pub krl: Vec<u8>,
    /// Keys, one a line, for servers that read no binary list: those that are revoked, and those of revoked certificates.
    /// Key ids cannot stand in it.
    pub keys: String,
    /// How many revocations there are.
    pub count: usize,
}

/// The list for servers now.
///
/// # Errors
/// `MC-J007` where a record was damaged.
pub async fn list(store: &Store<'_>) -> Result<List> {
    let mut revocations: Vec<Revocation> = store.read_all(RECORD).await?;
    revocations.retain(|revocation| revocation.is_needed(store.now));
    let mut revoked = Revoked::default();
    for kind in Kind::ALL {
        for authority in authority::all(store, kind).await? {
            revoked.authorities.insert(authority.public, Default::default());
        }
    }
    let mut keys = std::collections::BTreeSet::new();
    for revocation in &revocations {
        match revocation {
            Revocation::Serial { serial, authority, public_key, .. } => {
                let number = serial.parse().map_err(|error| {
                    Error::new(Code::JournalBroken, "a revoked serial number is none").because(error)
                })?;
                revoked.authorities.entry(authority.clone()).or_default().insert(number);
                keys.insert(public_key.as_str());
            }
            Revocation::KeyId { key_id } => {
                revoked.key_ids.insert(key_id.clone());
            }
            Revocation::PublicKey { public_key, .. } => {
                revoked.keys.insert(public_key.clone());
                keys.insert(public_key);
            }
        }
    }
    let keys = keys.into_iter().map(|key| format!("{key}\n")).collect();
    Ok(List { krl: krl::encode(&revoked, store.now)?, keys, count: revocations.len() })
}

impl Revocation {
    fn is_needed(&self, now: Timestamp) -> bool {
        match self {
            // Clocks of servers differ from ours: a day is more than they may.
            Self::Serial { valid_before, .. } => now.0 < valid_before.saturating_add(86_400_000),
            Self::KeyId { .. } | Self::PublicKey { .. } => true,
        }
    }
}
