//! Owns what the effects on images need: the engine, the script's folder, credentials and the way to registries.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use effect::units::Span;
use effect::{Code, Context, Error, Need, Result, Secret};
use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::engine::{Images, Limits, Login};
use super::super::reference::Reference;
use super::super::registry::{Connector, Registry, Remote};
use super::super::retry::{Jitter, retry};
use super::super::trust::{self, Authority};
use crate::effects as containers;

/// A transfer without a sign of life for so long is over.
const SILENCE: Duration = Duration::from_secs(120);
const DEFAULT_TOTAL: Span = Span::seconds(600);
pub(super) const DEFAULT_ATTEMPTS: u32 = 4;

/// Who asks a registry.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The user.
    pub username: String,
    /// The password or token; a secret that may go to `images:REGISTRY`.
    pub password: Secret,
}

/// What the effects need.
pub struct World {
    containers: Arc<containers::World>,
    root: PathBuf,
    jitter: Arc<Jitter>,
}

impl World {
    /// The world of a script in the folder `root`; `jitter` gives numbers from 0 to 1.
    #[must_use]
    pub fn new(containers: Arc<containers::World>, root: &Path, jitter: Arc<Jitter>) -> Self {
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        Self { containers, root, jitter }
    }

    /// The engine.
    ///
    /// # Errors
    /// `MC-C006` where the selected driver has no images.
    pub fn engine(&self, effect: &str) -> Result<Arc<dyn Images>> {
        self.containers.images().ok_or_else(|| {
            Error::new(
                Code::Unsupported,
                format!("`{effect}` needs images, which the process driver does not have"),
            )
            .hint("images need an engine such as podman; select one under [drivers] in `mcrun.toml`")
        })
    }

    /// The engine where there may be one: a machine without any has no images.
    pub(super) fn lister(&self) -> Option<Arc<dyn Images>> {
        self.containers.images().filter(|_| self.containers.may_have_images())
    }

    /// The absolute path that `text` stands for, without `..`.
    pub(super) fn path(&self, field: &str, text: &str) -> Result<PathBuf> {
        let refused = |why: &str| {
            let shown: String = text.chars().take(200).collect();
            Error::new(Code::FileRefused, format!("field `{field}`: path `{shown}` {why}"))
        };
        if text.is_empty() || text.contains('\0') || text.len() > 4096 {
            return Err(refused("is empty, too long or contains a NUL byte"));
        }
        let is_plain =
            |component: Component<'_>| !matches!(component, Component::ParentDir | Component::Prefix(_));
        if !Path::new(text).components().all(is_plain) {
            return Err(refused("contains `..`").hint("write the path without it, and grant that"));
        }
        Ok(self.root.join(text).components().collect())
    }

    /// Opens a file that the policy has allowed: without following a link.
    pub(super) fn open(&self, field: &str, path: &Path) -> Result<std::fs::File> {
        use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let failed = |cause: &dyn std::fmt::Display| {
            Error::new(Code::FileFailed, format!("field `{field}`: `{}` cannot be read", path.display()))
                .because(cause)
        };
        let file = rustix::fs::openat2(CWD, path, flags, Mode::empty(), links)
            .map_err(|errno| match errno {
                rustix::io::Errno::LOOP => Error::new(
                    Code::FileRefused,
                    format!("field `{field}`: `{}` leads through a link", path.display()),
                )
                .hint("write the path that it leads to, and grant that"),
                errno => failed(&std::io::Error::from(errno)),
            })
            .map(std::fs::File::from)?;
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            Ok(_) => Err(failed(&"it is no file")),
            Err(cause) => Err(failed(&cause)),
        }
    }

    /// The capabilities that a `ca` takes: reading it, and, where the engine is to use it, putting it where it looks.
    pub(super) fn ca_needs(&self, ca: Option<&String>, engine: Option<&str>) -> Result<Vec<Need>> {
        let Some(ca) = ca else { return Ok(Vec::new()) };
        let mut needs = vec![Need::read("files", self.path("ca", ca)?.to_string_lossy())];
        if let (Some(registry), Some(images)) = (engine, self.containers.images()) {
            let file = trust::file_in(&images.trust_folder(registry));
            needs.push(Need::write("files", file.to_string_lossy()));
        }
        Ok(needs)
    }

    pub(super) fn authority(&self, ca: Option<&String>) -> Result<Option<Authority>> {
        ca.map(|ca| Authority::read(&self.path("ca", ca)?)).transpose()
    }

    /// Opens the credentials.
    pub(super) async fn login(
        &self,
        context: &Context,
        reference: &Reference,
        auth: Option<&Auth>,
    ) -> Result<Option<Login>> {
        let Some(auth) = auth else { return Ok(None) };
        let password = context.reveal(&auth.password, &destination(reference)).await?;
        Ok(Some(Login { username: auth.username.clone(), password: Zeroizing::new(password.to_vec()) }))
    }

    /// What `reference` means to its registry now.
    pub(super) async fn resolve(
        &self,
        context: &Context,
        engine: &dyn Images,
        reference: &Reference,
        access: &Access<'_>,
    ) -> Result<Remote> {
        if let Some(held) = engine.in_registry(reference) {
            let (id, size) = (held.id.clone(), held.size);
            return Ok(Remote { digest: held.id, id, size, defaults: held.defaults.unwrap_or_default() });
        }
        let login = self.login(context, reference, access.auth).await?;
        let authority = self.authority(access.ca)?;
        let config = trust::config(&engine.trust_folder(&reference.registry), authority.as_ref())?;
        let connector = Connector::new(config);
        let registry = Registry::new(&connector, reference, login.as_ref())?;
        retry(access.attempts, &*self.jitter, "the registry", || registry.resolve()).await
    }

    /// Repeats `attempt` as `access` says.
    pub(super) async fn retry<T, F: Future<Output = Result<T>>>(
        &self,
        access: &Access<'_>,
        what: &str,
        attempt: impl FnMut() -> F,
    ) -> Result<T> {
        retry(access.attempts, &*self.jitter, what, attempt).await
    }
}

/// How a registry is asked.
pub(super) struct Access<'a> {
    pub(super) auth: Option<&'a Auth>,
    pub(super) ca: Option<&'a String>,
    pub(super) attempts: u32,
}

pub(super) fn limits(timeout: Option<Span>) -> Limits {
    let total = timeout.unwrap_or(DEFAULT_TOTAL).0;
    Limits { total, silence: SILENCE.min(total) }
}

/// What a secret's destination is called for a registry.
pub(super) fn destination(reference: &Reference) -> String {
    format!("images:{}", reference.registry)
}

/// Whether the registry may answer later: the image on the node will do meanwhile.
pub(super) fn is_down(error: &Error) -> bool {
    error.retryable && matches!(error.code, Code::RegistryUnavailable | Code::TimedOut)
}

/// Adds to an error which tags of the repository are on the node.
pub(super) async fn with_cached(engine: &dyn Images, reference: &Reference, mut error: Error) -> Error {
    if !matches!(error.code, Code::ImageUnknown | Code::RegistryUnavailable | Code::ImageMissing) {
        return error;
    }
    let held = match engine.list().await {
        Ok(held) => held,
        Err(failed) => {
            error.details.push(format!("the images on this node cannot be listed: {}", failed.message));
            return error;
        }
    };
    let mut tags: Vec<String> = held.into_iter().flat_map(|held| held.tags).collect();
    tags.retain(|tag| tag.parse::<Reference>().is_ok_and(|tag| tag.name() == reference.name()));
    tags.sort();
    error.details.push(match tags.as_slice() {
        [] => format!("no tag of `{}` is on this node", reference.name()),
        tags => format!("on this node: {}", tags.join(", ")),
    });
    error
}

/// The error of an image that is neither here nor to be had.
pub(super) fn missing(reference: &Reference, cause: &Error) -> Error {
    let last = reference.repository.rsplit('/').next().unwrap_or_default();
    Error::new(
        Code::ImageMissing,
        format!("image `{reference}` is not on this node and the registry does not answer"),
    )
    .because(cause.cause.as_deref().unwrap_or(&cause.message))
    .hint(format!("`mcrun images {last}` lists the tags that are cached here"))
    .retryable()
}
