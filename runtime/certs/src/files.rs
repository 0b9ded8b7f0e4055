//! Owns where certificates are written for the services that use them. How a file is written is a trait that whoever
//! puts the program together fills in: it refuses links, and readers see the old file or the new one.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use effect::units::Mode;
use effect::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::certificate::Certificate;

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// The file for the chain, the certificate first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// The file for the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A file for chain and key together: the two are never seen apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// The file for the roots that peers trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// User and group, by number or name: `"850:850"`, `"mcq"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The permission bits; `"0600"` unless given. The key is never readable for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// One file as it is wanted.
#[derive(Debug)]
pub struct Wanted {
    /// Its absolute path.
    pub path: PathBuf,
    /// The content.
    pub content: Zeroizing<Vec<u8>>,
    /// Permission bits.
    pub mode: Mode,
    /// User and group as the script wrote them.
    pub owner: Option<String>,
}

/// What reads and writes files.
#[async_trait]
pub trait Files: Send + Sync {
    /// The absolute path that a script means.
    ///
    /// # Errors
    /// Where it climbs out by `..`.
    fn resolve(&self, path: &str) -> Result<PathBuf>;

    /// Whether the file is as wanted.
    ///
    /// # Errors
    /// Where it cannot be looked at, or something else lies there.
    async fn is_right(&self, context: &Context, wanted: &Wanted) -> Result<bool>;

    /// Makes it so.
    ///
    /// # Errors
    /// Where it cannot be written.
    async fn put(&self, context: &Context, wanted: &Wanted) -> Result<()>;

    /// Takes the file away, if it is there.
    ///
    /// # Errors
    /// Where it cannot be removed.
    async fn remove(&self, context: &Context, path: &Path) -> Result<()>;
}

const PRIVATE: Mode = Mode(0o600);

impl Placement {
    /// The paths that it names, as the script wrote them.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        [&self.key, &self.cert, &self.pair, &self.ca].into_iter().flatten().map(String::as_str)
    }

    /// The same with absolute paths.
    ///
    /// # Errors
    /// Where one climbs out by `..`.
    pub fn resolved(&self, files: &dyn Files) -> Result<Self> {
        let one = |path: &Option<String>| {
            path.as_deref()
                .map(|path| files.resolve(path).map(|path| path.to_string_lossy().into_owned()))
                .transpose()
        };
        Ok(Self {
            cert: one(&self.cert)?,
            key: one(&self.key)?,
            pair: one(&self.pair)?,
            ca: one(&self.ca)?,
            owner: self.owner.clone(),
            mode: self.mode,
        })
    }

    /// The files for `certificate` with its `key` in PEM. The key comes first: a service that is started between two of
    /// them rather misses its certificate than finds one without its key.
    #[must_use]
    pub fn wanted(&self, certificate: &Certificate, key: &str) -> Vec<Wanted> {
        let mode = self.mode.unwrap_or(PRIVATE);
        let secret_mode = Mode(mode.0 & !0o007);
        let file = |path: &Option<String>, content: String, mode: Mode| {
            path.as_ref().map(|path| Wanted {
                path: path.into(),
                content: Zeroizing::new(content.into_bytes()),
                mode,
                owner: self.owner.clone(),
            })
        };
        [
            file(&self.key, key.to_owned(), secret_mode),
            file(&self.pair, format!("{}{key}", certificate.chain), secret_mode),
            file(&self.cert, certificate.chain.clone(), mode),
            file(&self.ca, certificate.roots.clone(), mode),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
