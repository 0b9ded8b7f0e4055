//! Owns what the effects need of their surroundings: which driver performs them, where certificates come from, and how
//! back ends are probed.

use std::sync::{Arc, OnceLock};

use effect::{Context, Result, Sealer};
use journal::{Clock, Journal};

use super::Prober;
use crate::driver::{Certificates, Driver};

/// What a driver works with.
pub struct Means {
    /// Where routes are recorded.
    pub journal: Journal,
    /// The node that they are kept under.
    pub node: String,
    /// What opens the keys of certificates.
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

/// Makes what the effects need once they need it: whoever puts the rooms together fills it in.
pub trait Maker: Send + Sync {
    /// The driver that mcrun.toml chooses.
    ///
    /// # Errors
    /// `MC-U002` where mcrun.toml does not describe the proxy.
    fn driver(&self, means: Means) -> Result<Arc<dyn Driver>>;

    /// Where certificates come from.
    fn certificates(&self, means: Means) -> Arc<dyn Certificates>;

    /// What looks whether back ends answer.
    fn prober(&self) -> Arc<dyn Prober>;
}

/// The surroundings of one run's effects.
pub struct World {
    maker: Box<dyn Maker>,
    driver: OnceLock<Arc<dyn Driver>>,
    certificates: OnceLock<Arc<dyn Certificates>>,
    prober: OnceLock<Arc<dyn Prober>>,
}

impl World {
    /// The world as configured. Nothing is made before it is needed.
    #[must_use]
    pub fn new(maker: Box<dyn Maker>) -> Self {
        let (driver, certificates, prober) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { maker, driver, certificates, prober }
    }

    /// The driver in use.
    ///
    /// # Errors
    /// As [`Maker::driver`].
    pub fn driver_with(&self, means: impl FnOnce() -> Means) -> Result<Arc<dyn Driver>> {
        if let Some(made) = self.driver.get() {
            return Ok(made.clone());
        }
        let made = self.maker.driver(means())?;
        Ok(self.driver.get_or_init(|| made).clone())
    }

    pub(super) fn driver(&self, context: &Context) -> Result<Arc<dyn Driver>> {
        self.driver_with(|| context.into())
    }

    pub(super) fn certificates(&self, context: &Context) -> Arc<dyn Certificates> {
        self.certificates.get_or_init(|| self.maker.certificates(context.into())).clone()
    }

    pub(super) fn prober(&self) -> Arc<dyn Prober> {
        self.prober.get_or_init(|| self.maker.prober()).clone()
    }
}
