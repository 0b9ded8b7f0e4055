//! Owns secrets on their way through the corridor: [`Secret`], an opaque value in arguments, [`Hidden`], a value found
//! live that is stored sealed, and the [`Sealer`] that holds the state directory's key. Leaves where secrets come
//! from to the `system` crate.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Code, Error, Result};

/// A secret in an argument: the names of its parts, never their values. Made by `secrets.get`, joined with `..`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Joined")]
pub struct Secret {
    /// The parts in order.
    #[serde(rename = "$secret")]
    pub parts: Vec<Part>,
}

/// A secret as a script hands it over: joining nests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Joined {
    #[serde(rename = "$secret")]
    parts: Vec<JoinedPart>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JoinedPart {
    Inner(Joined),
    Part(Part),
}

impl From<Joined> for Secret {
    fn from(joined: Joined) -> Self {
        let flat = |part| match part {
            JoinedPart::Inner(inner) => Secret::from(inner).parts,
            JoinedPart::Part(part) => vec![part],
        };
        Self { parts: joined.parts.into_iter().flat_map(flat).collect() }
    }
}

/// A piece of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// A configured secret and the keyed hash of the value it had when the script got it.
    Named {
        /// Its name in `mcrun.toml` or in the sealed store.
        name: String,
        /// Its version, where it has versions: a run that goes on later gets the same value again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        /// Keyed hash of the value.
        tag: String,
    },
    /// Text that the script joined to it.
    Text(String),
}

impl Secret {
    /// The handle of one configured secret.
    #[must_use]
    pub fn named(name: &str, tag: String) -> Self {
        Self::of_version(name, None, tag)
    }

    /// The handle of one secret that may have versions.
    #[must_use]
    pub fn of_version(name: &str, version: Option<u32>, tag: String) -> Self {
        Self { parts: vec![Part::Named { name: name.to_owned(), version, tag }] }
    }

    /// The names of the configured secrets inside.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values().map(|named| named.name)
    }

    /// The same, each as it was when the script got it.
    pub fn values(&self) -> impl Iterator<Item = Named<'_>> {
        self.parts.iter().filter_map(|part| match part {
            Part::Named { name, version, tag } => Some(Named { name, version: *version, tag }),
            Part::Text(_) => None,
        })
    }
}

/// A named part of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version, where it has versions.
    pub version: Option<u32>,
    /// The keyed hash of its value.
    pub tag: &'a str,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(formatter, "{}@{version}", self.name),
            None => formatter.write_str(self.name),
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.values().map(|named| named.to_string()).collect();
        write!(formatter, "secret({})", names.join(" .. "))
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "x-secret": true, "description": "An opaque value from `secrets.get`." })
    }
}

/// Where secrets come from and where they may go.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The value of the secret `name`.
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>>;

    /// The value of `name`, and the version that it is where it has versions.
    async fn current(&self, name: &str) -> Result<(Option<u32>, Zeroizing<Vec<u8>>)> {
        Ok((None, self.reveal(name).await?))
    }

    /// The value that `name` had in `version`, or has where it has no versions.
    async fn reveal_version(&self, name: &str, version: Option<u32>) -> Result<Zeroizing<Vec<u8>>> {
        let _ = version;
        self.reveal(name).await
    }

    /// Looks again at what is recorded of `name`: whoever asks [`Secrets::may_go`] long after this was made does it first.
    async fn look(&self, name: &str) -> Result<()> {
        let _ = name;
        Ok(())
    }

    /// Records that `name` is about to be used at `destination`. Durable on return.
    async fn used(&self, name: &str, version: Option<u32>, destination: &str) -> Result<()> {
        let _ = (name, version, destination);
        Ok(())
    }

    /// Whether `name` may be used at `destination`, such as `containers:mcq`.
    fn may_go(&self, name: &str, destination: &str) -> Result<bool>;

    /// `text` with literal copies of revealed secrets replaced. Best effort: an encoded copy passes.
    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }
}

/// A value that was found live and is stored sealed: comparable by its keyed hash, readable only with the state
/// directory's key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hidden {
    /// Keyed hash of the value.
    #[serde(rename = "$hidden")]
    tag: String,
    /// Nonce and ciphertext, base64; empty where only the hash is told, as in what a script gets.
    #[serde(rename = "box", default, skip_serializing_if = "String::is_empty")]
    sealed: String,
}

impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        self.tag == other.tag
    }
}

impl Eq for Hidden {}

impl JsonSchema for Hidden {
    fn schema_name() -> Cow<'static, str> {
        "Hidden".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "description": "A value found live, stored sealed." })
    }
}

impl Hidden {
    /// The keyed hash.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

/// Holds the key of one state directory: seals values and hashes them for comparison.
pub struct Sealer {
    key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer")
    }
}

impl Sealer {
    /// Opens the key `seal.key` in the state directory, making it on first use (mode 0600).
    ///
    /// # Errors
    /// `MC-J005` when the file cannot be read or written or has the wrong length, `MC-J006` when there is no room for it.
    pub fn open(state: &Path) -> Result<Self> {
        let path = state.join("seal.key");
        let broken = |error: io::Error| {
            let code = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
                _ => Code::StateUnusable,
            };
            Error::new(code, format!("`{}` cannot be used", path.display())).because(error)
        };
        match fs::OpenOptions::new().read(true).open(&path) {
            Ok(file) => Self::read(file).map_err(broken),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(&path).map_err(broken),
            Err(error) => Err(broken(error)),
        }
    }

    /// A sealer with a key that is gone when it is dropped: for plans without a state directory and for tests.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self { key: random_key() }
    }

    fn read(mut file: fs::File) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        file.read_exact(&mut *key)?;
        Ok(Self { key })
    }

    fn create(path: &Path) -> io::Result<Self> {
        let key = random_key();
        // Written under another name and linked, so that no process ever reads half a key.
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        let written = || {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(&*key)?;
            file.sync_all()?;
            fs::hard_link(&draft, path)?;
            // What is sealed with it is worth nothing without it: its name must not be lost with the power.
            path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
        };
        let linked = written();
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Self::read(fs::File::open(path)?),
        }
    }

    /// A key for one other purpose, named by `context`: nobody gets from one to the other.
    #[must_use]
    pub fn derived(&self, context: &'static str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(context, &*self.key))
    }

    /// The keyed hash by which two values are compared without knowing them.
    #[must_use]
    pub fn tag(&self, value: &[u8]) -> String {
        blake3::keyed_hash(&self.key, value).to_hex()[..32].to_owned()
    }

    /// Seals a value.
    #[must_use]
    pub fn hide(&self, value: &[u8]) -> Hidden {
        let tag = self.tag(value);
        let mut nonce = [0; 24];
        fill_random(&mut nonce);
        let payload = Payload { msg: value, aad: tag.as_bytes() };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .expect("XChaCha20-Poly1305 encrypts anything shorter than 256 GiB");
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        Hidden { tag, sealed: STANDARD_NO_PAD.encode(bytes) }
    }

    /// Opens a sealed value.
    ///
    /// # Errors
    /// `MC-J007` when it was sealed with another key or was altered.
    pub fn open_hidden(&self, hidden: &Hidden) -> Result<Zeroizing<Vec<u8>>> {
        let altered = || {
            Error::new(Code::JournalBroken, "a sealed value cannot be opened with this state directory's key")
        };
        let bytes = STANDARD_NO_PAD.decode(&hidden.sealed).map_err(|_| altered())?;
        let (nonce, sealed) = bytes.split_first_chunk::<24>().ok_or_else(altered)?;
        let payload = Payload { msg: sealed, aad: hidden.tag.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| altered())
    }

    /// A keyed hash of what comes in pieces: the same as [`Sealer::tag`] of the whole.
    #[must_use]
    pub fn tagger(&self) -> Tagger {
        Tagger(blake3::Hasher::new_keyed(&self.key))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*self.key))
    }
}

/// A keyed hash under way.
pub struct Tagger(blake3::Hasher);

impl Tagger {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of everything so far.
    #[must_use]
    pub fn tag(&self) -> String {
        self.0.finalize().to_hex()[..32].to_owned()
    }
}

/// `value` with the boxes of hidden values taken out: what a script gets, which cannot open them.
#[must_use]
pub fn without_boxes(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(mut fields) if fields.contains_key("$hidden") => {
            fields.remove("box");
            Value::Object(fields)
        }
        Value::Object(fields) => {
            fields.into_iter().map(|(name, field)| (name, without_boxes(field))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_boxes).collect(),
        other => other,
    }
}

fn random_key() -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    fill_random(&mut *key);
    key
}

/// Fills `bytes` with randomness fit for keys.
pub fn fill_random(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .expect("getrandom without flags fails only where the kernel lacks it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_value_opens_only_with_its_key() {
        let sealer = Sealer::ephemeral();
        let hidden = sealer.hide(b"hunter2");
        assert_eq!(&**sealer.open_hidden(&hidden).unwrap(), b"hunter2");
        assert_eq!(hidden, sealer.hide(b"hunter2"));
        assert!(Sealer::ephemeral().open_hidden(&hidden).is_err());
        assert!(!serde_json::to_string(&hidden).unwrap().contains("hunter2"));
    }

    #[test]
    fn a_hash_in_pieces_is_that_of_the_whole() {
        let sealer = Sealer::ephemeral();
        let mut tagger = sealer.tagger();
        tagger.update(b"hun");
        tagger.update(b"ter2");
        assert_eq!(tagger.tag(), sealer.tag(b"hunter2"));
    }

    #[test]
    fn a_hidden_value_without_its_box_says_only_what_it_equals() {
        let sealer = Sealer::ephemeral();
        let hidden = sealer.hide(b"hunter2");
        let told = without_boxes(serde_json::json!({ "list": [hidden] }));
        assert!(told["list"][0].get("box").is_none());
        let again: Hidden = serde_json::from_value(told["list"][0].clone()).unwrap();
        assert_eq!(again, hidden);
        assert_eq!(sealer.open_hidden(&again).unwrap_err().code, Code::JournalBroken);
    }

    #[test]
    fn joined_secrets_become_one_list_of_parts() {
        let text = r#"{"$secret":["user:",{"$secret":[{"name":"db","tag":"00"}]},{"$secret":["@",{"$secret":[{"name":"host","tag":"01"}]}]}]}"#;
        let secret: Secret = serde_json::from_str(text).unwrap();
        assert_eq!(secret.names().collect::<Vec<_>>(), ["db", "host"]);
        assert_eq!(secret.parts.len(), 4);
        let again: Secret = serde_json::from_str(&serde_json::to_string(&secret).unwrap()).unwrap();
        assert_eq!(again, secret);
    }

    #[test]
    fn the_key_survives_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("mcrun-sealer-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let tag = Sealer::open(&dir).unwrap().tag(b"x");
        assert_eq!(Sealer::open(&dir).unwrap().tag(b"x"), tag);
        assert_eq!(fs::metadata(dir.join("seal.key")).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(&dir).unwrap();
    }
}
