//! Owns what opens the sealed store: the key of the state directory, a key file, a passphrase, or a credential of systemd.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use effect::{Code, Error, Result, Sealer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A key that values are sealed with.
pub(super) type DataKey = Zeroizing<[u8; 32]>;

/// What a key file holds at least, and at most, in bytes.
const SHORTEST_KEY: usize = 32;
const LONGEST_KEY: u64 = 4096;
const SHORTEST_PASSPHRASE: usize = 8;
/// What a row may ask of argon2id, so that an altered one does not take all memory.
const MOST_MEMORY: u32 = 1 << 20;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 16;
/// RFC 9106, the second recommended option: 64 MiB, three passes, four lanes.
const MEMORY: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
const KEPT: u32 = 5;

/// `[secrets_store]`: what opens the sealed store, at most one of three; the key of the state directory unless given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A file of at least 32 bytes of randomness.
    pub key_file: Option<PathBuf>,
    /// A file whose first line is a passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// The name of a credential of systemd, `mcrun-key`.
    pub credential: Option<String>,
    /// How many versions of a secret are kept: 5 unless given.
    pub keep: Option<u32>,
}

/// What a key is sealed with, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Source {
    /// The key of the state directory.
    State,
    /// A key file.
    File,
    /// A passphrase, stretched by argon2id.
    Passphrase { salt: String, memory: u32, passes: u32, lanes: u32 },
    /// A credential of systemd.
    Credential,
}

impl Source {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::State => "the key of the state directory",
            Self::File => "a key file",
            Self::Passphrase { .. } => "a passphrase",
            Self::Credential => "a credential of systemd",
        }
    }

    /// The key that opens what was sealed with this, from where `settings` says it is.
    pub(super) async fn key(&self, settings: &Settings, sealer: &Sealer) -> Result<DataKey> {
        match self {
            Self::State => Ok(sealer.derived("mcrun 2026 sealed store, key of the state directory")),
            Self::File => settings.key_file.as_deref().map_or_else(|| Err(not_named()), key_of_file),
            Self::Credential => {
                let name = settings.credential.as_deref().ok_or_else(not_named)?;
                key_of_file(&credential(name)?)
            }
            Self::Passphrase { salt, memory, passes, lanes } => {
                let file = settings.passphrase_file.as_deref().ok_or_else(not_named)?;
                let passphrase = passphrase(file)?;
                let salt = STANDARD_NO_PAD.decode(salt).map_err(|_| malformed())?;
                let within = (8..=64).contains(&salt.len())
                    && *memory <= MOST_MEMORY
                    && *passes <= MOST_PASSES
                    && *lanes <= MOST_LANES;
                if !within {
                    return Err(malformed());
                }
                let params = Params::new(*memory, *passes, *lanes, Some(32)).map_err(|_| malformed())?;
                // It computes for a tenth of a second: not on the thread of an event loop.
                let stretched = tokio::task::spawn_blocking(move || stretch(params, &passphrase, &salt));
                stretched.await.map_err(|error| Error::ended("argon2id ended early", &error))?
            }
        }
    }
}

fn stretch(params: Params, passphrase: &[u8], salt: &[u8]) -> Result<DataKey> {
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *key)
        .map_err(|_| malformed())?;
    Ok(key)
}

impl Settings {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// `MC-U002`.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(Code::Config, format!("[secrets_store]: {why}")));
        let named = [self.key_file.is_some(), self.passphrase_file.is_some(), self.credential.is_some()];
        if named.iter().filter(|named| **named).count() > 1 {
            return wrong("takes at most one of `key_file`, `passphrase_file` and `credential`");
        }
        if self.key_file.iter().chain(&self.passphrase_file).any(|file| !file.is_absolute()) {
            return wrong("files are named by absolute paths");
        }
        let is_plain = |name: &String| {
            !name.is_empty() && name.len() <= 255 && !name.contains('/') && !name.starts_with('.')
        };
        if !self.credential.iter().all(is_plain) {
            return wrong("`credential` is a name, such as `mcrun-key`");
        }
        if !(1..=super::MOST_VERSIONS).contains(&self.keep()) {
            return wrong(&format!("`keep` is from 1 to {}", super::MOST_VERSIONS));
        }
        Ok(())
    }

    /// How many versions of a secret are kept.
    pub(super) fn keep(&self) -> u32 {
        self.keep.unwrap_or(KEPT)
    }

    /// What a new key is sealed with.
    pub(super) fn new_source(&self) -> Source {
        if self.key_file.is_some() {
            return Source::File;
        }
        if self.credential.is_some() {
            return Source::Credential;
        }
        if self.passphrase_file.is_some() {
            let mut salt = [0; 16];
            effect::secret::fill_random(&mut salt);
            let salt = STANDARD_NO_PAD.encode(salt);
            return Source::Passphrase { salt, memory: MEMORY, passes: PASSES, lanes: LANES };
        }
        Source::State
    }

    /// Refuses a key that is sealed with something else than these settings name.
    pub(super) fn check_source(&self, by: &Source) -> Result<()> {
        let named = self.new_source();
        if std::mem::discriminant(&named) == std::mem::discriminant(by) {
            return Ok(());
        }
        Err(Error::new(Code::SecretsSealed, format!("the sealed store is sealed with {}", by.as_str()))
            .because(format!("[secrets_store] in mcrun.toml means {}", named.as_str()))
            .hint("name what it is sealed with, or seal it anew: `mcrun secrets rewrap` with the old key"))
    }

    /// What these name, for people.
    pub(super) fn shown(&self) -> String {
        match (&self.key_file, &self.passphrase_file, &self.credential) {
            (Some(file), _, _) => format!("the key file `{}`", file.display()),
            (_, Some(file), _) => format!("the passphrase in `{}`", file.display()),
            (_, _, Some(name)) => format!("the credential `{name}`"),
            _ => "the key of the state directory".to_owned(),
        }
    }
}

fn not_named() -> Error {
    Error::new(Code::SecretsSealed, "nothing is named that opens the sealed store")
}

fn malformed() -> Error {
    Error::new(Code::SecretBroken, "a key of the sealed store says nonsense about its passphrase")
}

/// Where systemd puts a credential of the unit.
fn credential(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).ok_or_else(|| {
        Error::new(Code::SecretsSealed, format!("the credential `{name}` is not there"))
            .because("CREDENTIALS_DIRECTORY is not set: nothing was handed over by systemd")
            .hint(format!(
                "add `LoadCredentialEncrypted={name}` to the unit; by hand: `systemd-run -p LoadCredentialEncrypted={name}`"
            ))
    })?;
    Ok(folder.join(name))
}

fn key_of_file(file: &Path) -> Result<DataKey> {
    let bytes = private(file)?;
    if bytes.len() < SHORTEST_KEY {
        return Err(unusable(file, &format!("it holds less than {SHORTEST_KEY} bytes"))
            .hint("a key is made by `head -c 32 /dev/urandom`"));
    }
    Ok(Zeroizing::new(blake3::derive_key("mcrun 2026 sealed store, key file", &bytes)))
}

fn passphrase(file: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let bytes = private(file)?;
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let line = Zeroizing::new(bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]).to_vec());
    if line.len() < SHORTEST_PASSPHRASE {
        return Err(unusable(file, &format!("its first line has less than {SHORTEST_PASSPHRASE} bytes")));
    }
    Ok(line)
}

/// What a file holds that nobody else can read.
fn private(file: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let read = || {
        let opened = File::open(file)?;
        let metadata = opened.metadata()?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_KEY as usize + 1));
        if metadata.is_file() {
            opened.take(LONGEST_KEY + 1).read_to_end(&mut bytes)?;
        }
        Ok::<_, std::io::Error>((metadata, bytes))
    };
    let (metadata, bytes) = read().map_err(|error| unusable(file, &error.to_string()))?;
    if !metadata.is_file() {
        return Err(unusable(file, "it is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(unusable(file, "others may read it").hint(format!("`chmod 600 {}`", file.display())));
    }
    if bytes.len() as u64 > LONGEST_KEY {
        return Err(unusable(file, &format!("it holds more than {LONGEST_KEY} bytes")));
    }
    Ok(bytes)
}

fn unusable(file: &Path, cause: &str) -> Error {
    Error::new(Code::SecretsSealed, format!("`{}` does not open the sealed store", file.display()))
        .because(cause)
}
