//! Owns what an effect sees of its run: node, policy, secrets, sealer, overlay and clock.

use std::path::PathBuf;
use std::sync::Arc;

use journal::{Clock, Identity, Journal, RunId, Timestamp};
use zeroize::Zeroizing;

use crate::secret::{Part, Secret};
use crate::{Code, Error, Overlay, Policy, Result, Sealer, Secrets};

/// Whether effects act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Effects act and are journaled.
    Run,
    /// Effects read and diff; nothing is applied and nothing journaled.
    Plan,
}

/// What every effect of a run shares.
pub struct Shared {
    /// The run.
    pub run: RunId,
    /// The local node's name.
    pub node: String,
    /// Whether effects act.
    pub mode: Mode,
    /// What the run may do.
    pub policy: Policy,
    /// Where secrets come from.
    pub secrets: Arc<dyn Secrets>,
    /// Seals what was found live.
    pub sealer: Arc<Sealer>,
    /// The records: registry and ports.
    pub journal: Journal,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The script's folder, against which relative paths are resolved.
    pub root: PathBuf,
    /// What earlier effects of a plan will have changed.
    pub overlay: Overlay,
}

/// What one effect sees of its run.
#[derive(Clone)]
pub struct Context {
    pub(crate) shared: Arc<Shared>,
    /// The effect's own identity.
    pub identity: Identity,
    /// True when the effect was begun before and cut.
    pub resumed: bool,
}

impl std::ops::Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Context {
    /// A context on its own, for tests of effects.
    #[must_use]
    pub fn new(shared: Arc<Shared>, identity: Identity) -> Self {
        Self { shared, identity, resumed: false }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether this is a plan.
    #[must_use]
    pub fn planning(&self) -> bool {
        self.mode == Mode::Plan
    }

    /// The key of an object: `PRIMITIVE:NODE/NAME`.
    #[must_use]
    pub fn key(&self, primitive: &str, node: Option<&str>, name: &str) -> String {
        format!("{primitive}:{}/{name}", node.unwrap_or(&self.node))
    }

    /// Resolves a path that a script wrote against the script's folder. Purely textual; roots are opened by `files`.
    #[must_use]
    pub fn path(&self, text: &str) -> PathBuf {
        self.root.join(text)
    }

    /// Opens a secret for one destination, such as `containers:mcq`.
    ///
    /// # Errors
    /// `MC-P011` when it may not go there, `MC-P010` and `MC-P012` when there is no value.
    pub async fn reveal(&self, secret: &Secret, destination: &str) -> Result<Zeroizing<Vec<u8>>> {
        self.may_go(secret, destination)?;
        let mut value = Zeroizing::new(Vec::new());
        for part in &secret.parts {
            match part {
                Part::Text(text) => value.extend_from_slice(text.as_bytes()),
                Part::Named { name, version, tag } => {
                    let opened = self.secrets.reveal_version(name, *version).await?;
                    // One that was taken away and set again counts its versions from one.
                    if let Some(version) = version
                        && self.sealer.tag(&opened) != *tag
                    {
                        let message =
                            format!("version {version} of secret `{name}` is another than the run got");
                        return Err(Error::new(Code::SecretUnknown, message)
                            .hint("start a new run: it gets the value that is there now"));
                    }
                    // Room beforehand: a vector that grows leaves copies behind.
                    let mut longer = Zeroizing::new(Vec::with_capacity(value.len() + opened.len()));
                    longer.extend_from_slice(&value);
                    longer.extend_from_slice(&opened);
                    value = longer;
                }
            }
        }
        // What was looked at before it was opened may have been of another moment.
        self.may_go(secret, destination)?;
        for named in secret.values() {
            self.secrets.used(named.name, named.version, destination).await?;
        }
        Ok(value)
    }

    /// Checks that a secret may go to `destination`, without opening it: the plan's part of [`Context::reveal`].
    ///
    /// # Errors
    /// `MC-P011` when it may not.
    pub fn may_go(&self, secret: &Secret, destination: &str) -> Result<()> {
        for name in secret.names() {
            if !self.secrets.may_go(name, destination)? {
                return Err(Error::new(
                    Code::SecretPlace,
                    format!("secret `{name}` may not go to `{destination}`"),
                )
                .hint(format!(
                    "add \"{destination}\" to `to` of [secrets.\"{name}\"] in mcrun.toml, or with `mcrun secrets set \
                     {name} --to` where it is in the sealed store"
                )));
            }
        }
        Ok(())
    }
}
