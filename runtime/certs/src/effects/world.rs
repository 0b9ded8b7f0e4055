//! Owns what the effects need of their surroundings: settings, files, and the driver of each profile.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use effect::{Code, Context, Error, Result, Sealer, Timestamp};
use journal::{Clock, Journal};
use zeroize::Zeroizing;

use crate::Secrets;
use crate::certificate::Certificate;
use crate::driver::Driver;
use crate::embedded::Authority;
use crate::files::Files;
use crate::key::Key;
use crate::peer::{Jitter, Patience};
use crate::policy::Policy;
use crate::profile::{Profile, Profiles};
use crate::settings::{Choice, External, Settings};
use crate::{acme, ssh, vault};

/// What answers the challenges of an ACME authority beside the listeners that are built in: whoever puts the rooms together
/// fills it in.
pub trait Proofs: Send + Sync {
    /// An answer for each kind for which there is one.
    ///
    /// # Errors
    /// Where mcrun.toml does not describe what it takes.
    fn responders(
        &self,
        settings: &acme::driver::Settings,
        means: &Means,
    ) -> Result<Vec<Arc<dyn acme::driver::Responder>>>;
}

/// The surroundings of one run's effects.
pub struct World {
    settings: Settings,
    choice: Choice,
    policy: Policy,
    profiles: Profiles,
    files: Arc<dyn Files>,
    state: PathBuf,
    external: External,
    jitter: Arc<Jitter>,
    proofs: Arc<dyn Proofs>,
    ssh: Arc<ssh::World>,
    authority: OnceLock<Arc<Authority>>,
    acme: OnceLock<Arc<dyn Driver>>,
    vault: OnceLock<Arc<dyn Driver>>,
}

/// What a driver works with.
pub struct Means {
    /// Where it records.
    pub journal: Journal,
    /// The node that records are kept under.
    pub node: String,
    /// What seals its keys.
    pub sealer: Arc<Sealer>,
    /// Where secrets come from.
    pub secrets: Arc<dyn effect::Secrets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl From<&Context> for Means {
    fn from(context: &Context) -> Self {
        Self {
            journal: context.journal.clone(),
            node: context.node.clone(),
            sealer: context.sealer.clone(),
            secrets: context.secrets.clone(),
            clock: context.clock.clone(),
        }
    }
}

/// What a world is put together from.
pub struct Parts<'a> {
    /// `[certs]`.
    pub settings: Settings,
    /// The driver of profiles that name none.
    pub choice: Choice,
    /// The ways to other authorities.
    pub external: External,
    /// What writes files.
    pub files: Arc<dyn Files>,
    /// The state directory.
    pub state: &'a Path,
    /// Where the chance in waits comes from.
    pub jitter: Arc<Jitter>,
    /// What proves names to an ACME authority.
    pub proofs: Arc<dyn Proofs>,
}

impl World {
    /// The world of a state directory, as configured. Nothing is opened before it is needed.
    ///
    /// # Errors
    /// `MC-U002` where the settings make no sense.
    pub fn new(parts: Parts<'_>) -> Result<Self> {
        Ok(Self {
            policy: parts.settings.policy()?,
            ssh: Arc::new(ssh::World::new(parts.settings.policy()?, parts.settings.ssh)?),
            profiles: parts.settings.profiles()?,
            settings: parts.settings,
            choice: parts.choice,
            files: parts.files,
            state: parts.state.to_owned(),
            external: parts.external,
            jitter: parts.jitter,
            proofs: parts.proofs,
            authority: OnceLock::new(),
            acme: OnceLock::new(),
            vault: OnceLock::new(),
        })
    }

    /// What the effects of the authority for SSH need.
    #[must_use]
    pub fn ssh(&self) -> &Arc<ssh::World> {
        &self.ssh
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    pub(super) fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// The embedded authority.
    pub(super) fn authority(&self, context: &Context) -> Arc<Authority> {
        self.embedded(|| context.into())
    }

    /// The driver of a profile.
    pub(super) fn driver(&self, context: &Context, profile: &Profile) -> Result<Arc<dyn Driver>> {
        self.driver_of(profile.driver.unwrap_or(self.choice), || context.into())
    }

    /// The driver that issued a certificate, whatever is configured now.
    pub(super) fn issuer(&self, context: &Context, certificate: &Certificate) -> Result<Arc<dyn Driver>> {
        self.driver_of(Choice::named(&certificate.driver), || context.into())
    }

    /// When the authority that issued a certificate wants it renewed, if it says so.
    ///
    /// # Errors
    /// Where the authority does not answer.
    pub async fn renewal_window(
        &self,
        means: impl FnOnce() -> Means,
        certificate: &Certificate,
    ) -> Result<Option<(Timestamp, Timestamp)>> {
        let issuer = self.driver_of(Choice::named(&certificate.driver), means)?;
        issuer.renewal_window(&certificate.chain_der()?).await
    }

    fn driver_of(&self, choice: Choice, means: impl FnOnce() -> Means) -> Result<Arc<dyn Driver>> {
        match choice {
            Choice::Embedded => Ok(self.embedded(means)),
            Choice::Acme => once(&self.acme, || self.new_acme(means())),
            Choice::Vault => once(&self.vault, || self.new_vault(means())),
        }
    }

    fn embedded(&self, means: impl FnOnce() -> Means) -> Arc<Authority> {
        let made = || {
            let Means { journal, node, sealer, .. } = means();
            Arc::new(Authority::new(journal, sealer, &node, &self.state, self.settings.embedded()))
        };
        self.authority.get_or_init(made).clone()
    }

    fn new_acme(&self, means: Means) -> Result<Arc<dyn Driver>> {
        let settings = self.external.acme.clone().ok_or_else(|| not_described("acme"))?;
        let responders = self.proofs.responders(&settings, &means)?;
        let client = acme::driver::Client::new(
            settings,
            acme::driver::Parts {
                journal: means.journal,
                node: means.node,
                sealer: means.sealer,
                secrets: Secrets::new(means.secrets, "certs:acme"),
                jitter: self.jitter.clone(),
                patience: Patience::default(),
                responders,
            },
        )?;
        Ok(Arc::new(client))
    }

    fn new_vault(&self, means: Means) -> Result<Arc<dyn Driver>> {
        let settings = self.external.vault.clone().ok_or_else(|| not_described("vault"))?;
        let client = vault::Client::new(
            settings,
            vault::Parts {
                secrets: Secrets::new(means.secrets, "certs:vault"),
                clock: means.clock,
                jitter: self.jitter.clone(),
                patience: Patience::default(),
            },
        )?;
        Ok(Arc::new(client))
    }

    pub(super) async fn is_revoked(&self, context: &Context, certificate: &Certificate) -> Result<bool> {
        if Choice::named(&certificate.driver) != Choice::Embedded {
            return Ok(false);
        }
        let issuance = self.authority(context).issuance(&certificate.serial).await?;
        Ok(issuance.is_some_and(|issuance| issuance.revoked.is_some()))
    }

    /// The key of a certificate in PEM.
    pub(super) fn key_of(&self, context: &Context, certificate: &Certificate) -> Result<Zeroizing<String>> {
        let opened = context.sealer.open_hidden(&certificate.key)?;
        let key = Key::from_pem(&String::from_utf8_lossy(&opened))?;
        Ok(key.to_pem())
    }
}

fn once(
    cell: &OnceLock<Arc<dyn Driver>>,
    make: impl FnOnce() -> Result<Arc<dyn Driver>>,
) -> Result<Arc<dyn Driver>> {
    if let Some(made) = cell.get() {
        return Ok(made.clone());
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made).clone())
}

fn not_described(driver: &str) -> Error {
    Error::new(
        Code::Config,
        format!("mcrun.toml chooses the certs driver `{driver}`, and has no [drivers.{driver}]"),
    )
    .hint(format!("add [drivers.{driver}] with the address of the authority"))
}
