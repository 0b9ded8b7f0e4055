//! Owns what the effects need of their surroundings: settings, files, and the driver of each profile.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use effect::{Context, Result};
use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::driver::Driver;
use crate::embedded::Authority;
use crate::files::Files;
use crate::key::Key;
use crate::policy::Policy;
use crate::profile::{Profile, Profiles};
use crate::settings::{Choice, Settings};

/// The surroundings of one run's effects.
pub struct World {
    settings: Settings,
    choice: Choice,
    policy: Policy,
    profiles: Profiles,
    files: Arc<dyn Files>,
    state: PathBuf,
    authority: OnceLock<Arc<Authority>>,
}

impl World {
    /// The world of a state directory, as configured. Nothing is opened before it is needed.
    ///
    /// # Errors
    /// `MC-D001` where the settings make no sense.
    pub fn new(settings: Settings, choice: Choice, files: Arc<dyn Files>, state: &Path) -> Result<Self> {
        Ok(Self {
            policy: settings.policy()?,
            profiles: settings.profiles()?,
            settings,
            choice,
            files,
            state: state.to_owned(),
            authority: OnceLock::new(),
        })
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
        let made = || {
            let (journal, sealer) = (context.journal.clone(), context.sealer.clone());
            Arc::new(Authority::new(journal, sealer, &context.node, &self.state, self.settings.embedded()))
        };
        self.authority.get_or_init(made).clone()
    }

    /// The driver of a profile.
    pub(super) fn driver(&self, context: &Context, profile: &Profile) -> Result<Arc<dyn Driver>> {
        self.driver_of(context, profile.driver.unwrap_or(self.choice))
    }

    fn driver_of(&self, context: &Context, choice: Choice) -> Result<Arc<dyn Driver>> {
        match choice {
            Choice::Embedded => Ok(self.authority(context)),
            Choice::Acme | Choice::Vault => Ok(self.authority(context)),
        }
    }

    /// The driver that issued a certificate, whatever is configured now.
    pub(super) fn issuer(&self, context: &Context, certificate: &Certificate) -> Result<Arc<dyn Driver>> {
        self.driver_of(context, Choice::named(&certificate.driver))
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
