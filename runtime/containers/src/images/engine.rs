//! Owns the trait that an engine implements to have images, in terms that every engine's interface has, and the data
//! that its calls take and give. A call may be cut off anywhere and is then simply made again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use effect::Result;
use zeroize::Zeroizing;

use super::api::Upload;
use super::reference::Reference;
use crate::observed::ImageDefaults;

/// An engine as far as images go.
#[async_trait]
pub trait Images: Send + Sync {
    /// The driver's name, as it is written in `mcrun.toml`.
    fn driver(&self) -> &'static str;

    /// The folder in which the engine looks for the certificates of the authority that it trusts for one registry: no
    /// engine takes them with a call.
    fn trust_folder(&self, registry: &str) -> PathBuf;

    /// The image of this name, digest or id on the node.
    async fn inspect(&self, image: &str) -> Result<Option<Held>>;

    /// All images on the node that have a name, and those without one.
    async fn list(&self) -> Result<Vec<Held>>;

    /// What a registry has under a name, where that is known without asking it: only where nothing is real.
    fn in_registry(&self, _: &Reference) -> Option<Held> {
        None
    }

    /// Gets an image from its registry.
    async fn pull(&self, reference: &Reference, login: Option<&Login>, limits: &Limits) -> Result<()>;

    /// Takes every image of an archive.
    async fn load(&self, archive: Upload, limits: &Limits) -> Result<()>;

    /// Makes an image of a context and returns its id.
    async fn build(&self, build: &Build, context: Upload, limits: &Limits) -> Result<String>;

    /// Lets `reference` mean the image `id` on this node.
    async fn tag(&self, id: &str, reference: &Reference) -> Result<()>;

    /// Gives an image to its registry.
    async fn push(&self, reference: &Reference, login: Option<&Login>, limits: &Limits) -> Result<()>;

    /// Takes a name away, and the image with its last one. One that is not there is success.
    async fn remove(&self, image: &str) -> Result<()>;
}

/// An image on the node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Held {
    /// By its content: `sha256:` and 64 digits.
    pub id: String,
    /// The names that mean it, with tags.
    pub tags: Vec<String>,
    /// The digests under which registries have it, with repositories.
    pub digests: Vec<String>,
    /// Bytes on disk.
    pub size: u64,
    /// When it was made, as RFC 3339 in UTC.
    pub created: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it says for fields that a container leaves out; absent in lists.
    pub defaults: Option<ImageDefaults>,
}

/// Who asks a registry.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The password or token; wiped from memory when dropped.
    pub password: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How long a transfer may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// As a whole.
    pub total: Duration,
    /// Without any sign of life.
    pub silence: Duration,
}

/// What is to be built.
#[derive(Debug, Clone, Default)]
pub struct Build {
    /// The name of the result.
    pub tag: String,
    /// The Containerfile within the context.
    pub file: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels added to the image.
    pub labels: BTreeMap<String, String>,
    /// The stage to stop at.
    pub target: Option<String>,
    /// Whether layers of earlier builds are left alone.
    pub no_cache: bool,
}
