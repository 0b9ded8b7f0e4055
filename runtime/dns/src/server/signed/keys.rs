//! Owns the keys that clients and secondaries share with this server: `[dns.keys.NAME]` of mcrun.toml, and what each key
//! may do, which the one policy function decides.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use effect::policy::{Grants, Need, Policy};
use effect::{Code, Error, Result};
use hickory_proto::rr;
use hickory_proto::rr::TSigner;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use serde::Deserialize;

use super::FUDGE;
use crate::name::Name;

/// Keys of one server.
pub const MOST_KEYS: usize = 1000;
/// Octets that a secret has at least: what has fewer can be guessed (RFC 8945, section 10).
pub const SHORTEST_SECRET: usize = 16;
/// Where the secrets of keys go: what `to` of a secret lists.
pub const DESTINATION: &str = "dns:keys";

/// How messages are hashed. MD5 and SHA-1 are left out, which RFC 8945, section 6, has for old clients only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Algorithm {
    /// What `tsig-keygen` and `keymgr` make unless told otherwise.
    #[default]
    #[serde(rename = "hmac-sha256")]
    Sha256,
    /// SHA-384.
    #[serde(rename = "hmac-sha384")]
    Sha384,
    /// SHA-512.
    #[serde(rename = "hmac-sha512")]
    Sha512,
}

impl Algorithm {
    /// Its name on the wire: one label.
    pub(super) fn wire(self) -> &'static [u8] {
        match self {
            Self::Sha256 => b"\x0bhmac-sha256\0",
            Self::Sha384 => b"\x0bhmac-sha384\0",
            Self::Sha512 => b"\x0bhmac-sha512\0",
        }
    }

    /// Octets of its hash.
    pub(super) fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn hash(self) -> TsigAlgorithm {
        match self {
            Self::Sha256 => TsigAlgorithm::HmacSha256,
            Self::Sha384 => TsigAlgorithm::HmacSha384,
            Self::Sha512 => TsigAlgorithm::HmacSha512,
        }
    }
}

/// `[dns.keys.NAME]` of mcrun.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// How messages are hashed: `hmac-sha256`, `hmac-sha384`, `hmac-sha512`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The secret of mcrun.toml that holds the key in base64, as `tsig-keygen` prints it.
    pub secret: String,
    /// What it may change: patterns of zone and name as in the capability `dns:write:ZONE/NAME`.
    #[serde(default)]
    pub write: Vec<String>,
    /// The zones that it may have whole: patterns of their names.
    #[serde(default)]
    pub transfer: Vec<String>,
}

/// One key.
pub struct Key {
    pub(super) name: Name,
    pub(super) algorithm: Algorithm,
    pub(super) signer: TSigner,
    policy: Policy,
}

impl Key {
    /// The key `name` with this secret in base64.
    ///
    /// # Errors
    /// `MC-U002` for a secret that is none or too short, and for patterns that are none.
    pub fn new(name: &str, settings: &KeySettings, secret: &[u8]) -> Result<Self> {
        let wrong = |why: String| Error::new(Code::Config, format!("[dns.keys.\"{name}\"]: {why}"));
        let owner = Name::absolute(name).map_err(|error| wrong(error.message))?;
        let text = std::str::from_utf8(secret).unwrap_or_default().trim();
        // What is wrong about a secret is told without a part of it.
        let octets: Vec<u8> = domain::utils::base64::decode(text).map_err(|_| {
            wrong(format!("the secret `{}` is not base64", settings.secret)).hint("`tsig-keygen` makes one")
        })?;
        if octets.len() < SHORTEST_SECRET {
            let why = format!("the secret `{}` has fewer than {SHORTEST_SECRET} octets", settings.secret);
            return Err(wrong(why).hint("`tsig-keygen` makes one of 32"));
        }
        // What is signed is put together here, octet by octet: of the name the signer only keeps a copy.
        let signer = TSigner::new(octets, settings.algorithm.hash(), rr::Name::root(), FUDGE)
            .and_then(|signer| signer.sign(&[]).map(|_| signer))
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { name: owner, algorithm: settings.algorithm, signer, policy: policy(settings, wrong)? })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether it may change what `name` has in `zone`.
    #[must_use]
    pub fn may_write(&self, zone: &Name, name: &Name) -> bool {
        self.policy.allows(&Need::write("dns", format!("{zone}/{}", name.in_zone(zone))))
    }

    /// Whether it may have `zone` whole.
    #[must_use]
    pub fn may_transfer(&self, zone: &Name) -> bool {
        self.policy.allows(&Need::read("dns", zone.to_string()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

fn policy(settings: &KeySettings, wrong: impl Fn(String) -> Error) -> Result<Policy> {
    if let Some(pattern) = settings.write.iter().find(|pattern| !pattern.contains('/')) {
        let error = wrong(format!("`{pattern}` under `write` names no record"));
        return Err(error.hint(format!("`{pattern}/*` is every name of the zone, `{pattern}/@` its own")));
    }
    let writes = settings.write.iter().map(|pattern| format!("dns:write:{}", pattern.to_ascii_lowercase()));
    let transfers = settings.transfer.iter().map(|zone| format!("dns:read:{}", zone.to_ascii_lowercase()));
    let grants = Grants { allow: writes.chain(transfers).collect(), ..Grants::default() };
    Policy::new(None, &grants).map_err(|error| wrong(error.message))
}

/// Every key of this server.
#[derive(Debug, Default)]
pub struct Keys {
    keys: HashMap<Name, Arc<Key>>,
}

impl Keys {
    /// These keys.
    ///
    /// # Errors
    /// `MC-U002` for two of one name, and for too many.
    pub fn new(keys: Vec<Key>) -> Result<Self> {
        if keys.len() > MOST_KEYS {
            return Err(Error::new(Code::Config, format!("[dns.keys] has more than {MOST_KEYS} keys")));
        }
        let mut known = HashMap::new();
        for key in keys {
            if let Some(twice) = known.insert(key.name.clone(), Arc::new(key)) {
                let message = format!("[dns.keys] has `{}` twice", twice.name);
                return Err(Error::new(Code::Config, message).because("upper and lower case are the same"));
            }
        }
        Ok(Self { keys: known })
    }

    /// The keys of `[dns.keys]`, with the secrets that they name.
    ///
    /// # Errors
    /// As [`Key::new`]; `MC-P010` to `MC-P012` where a secret is not there or may not go here.
    pub async fn load(
        settings: &BTreeMap<String, KeySettings>,
        secrets: &dyn effect::Secrets,
    ) -> Result<Self> {
        let mut keys = Vec::new();
        for (name, settings) in settings {
            secrets.look(&settings.secret).await?;
            if !secrets.may_go(&settings.secret, DESTINATION)? {
                let message = format!("the secret `{}` may not go to `{DESTINATION}`", settings.secret);
                let hint = format!(
                    "list it under [secrets.\"{}\"] in mcrun.toml: `to = [\"{DESTINATION}\"]`",
                    settings.secret
                );
                return Err(Error::new(Code::SecretPlace, message).hint(hint));
            }
            let (version, secret) = secrets.current(&settings.secret).await?;
            secrets.used(&settings.secret, version, DESTINATION).await?;
            keys.push(Key::new(name, settings, &secret)?);
        }
        Self::new(keys)
    }

    /// The key with this name.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Arc<Key>> {
        self.keys.get(name)
    }
}
