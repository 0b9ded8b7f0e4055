//! Owns what the effects need of their surroundings: settings, the witness, and the driver.

use std::sync::{Arc, OnceLock};

use effect::Context;

use crate::driver::Driver;
use crate::embedded::{self, Embedded, Live};
use crate::remote::{Client, OpenId};
use crate::settings::{Chosen, Settings};
use crate::witness::{InRun, Witness};

/// What a world is put together from.
pub struct Parts {
    /// `[mcias]`.
    pub settings: Settings,
    /// The driver.
    pub chosen: Chosen,
    /// Whoever keeps the audit.
    pub witness: Arc<dyn Witness>,
    /// What only this process knows, shared with whatever else validates tokens in it.
    pub live: Arc<Live>,
}

/// The surroundings of one run's effects.
pub struct World {
    parts: Parts,
    driver: OnceLock<Arc<dyn Driver>>,
}

impl World {
    /// A world. Nothing is opened before it is needed.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts, driver: OnceLock::new() }
    }

    /// The driver.
    pub(super) fn driver(&self, context: &Context) -> Arc<dyn Driver> {
        let made = || -> Arc<dyn Driver> {
            let (secrets, clock) = (context.secrets.clone(), context.clock.clone());
            match &self.parts.chosen {
                Chosen::Embedded => self.embedded(context),
                Chosen::Issuer(settings) => Arc::new(Client::new(settings.clone(), secrets, clock)),
                Chosen::OpenId(settings) => Arc::new(OpenId::new(settings.clone(), clock)),
            }
        };
        self.driver.get_or_init(made).clone()
    }

    fn embedded(&self, context: &Context) -> Arc<Embedded> {
        Arc::new(Embedded::new(embedded::Parts {
            journal: context.journal.clone(),
            node: context.node.clone(),
            sealer: context.sealer.clone(),
            settings: self.parts.settings.clone(),
            clock: context.clock.clone(),
            witness: Arc::new(InRun::new(context.run, self.parts.witness.clone())),
            live: self.parts.live.clone(),
        }))
    }
}
