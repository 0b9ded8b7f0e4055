//! Owns what the effects need of their surroundings: which driver performs them, and how it is reached.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use effect::{Context, Result};

use crate::driver::Driver;
use crate::embedded::{Embedded, Store};
use crate::settings::Choice;

/// The surroundings of one run's effects.
pub struct World {
    choice: Choice,
    servers: Vec<SocketAddr>,
    embedded: OnceLock<Arc<Embedded>>,
}

/// What a world is put together from.
pub struct Parts {
    /// The driver.
    pub choice: Choice,
    /// Where the embedded server answers.
    pub servers: Vec<SocketAddr>,
}

impl World {
    /// The world as configured. Nothing is opened before it is needed.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { choice: parts.choice, servers: parts.servers, embedded: OnceLock::new() }
    }

    /// Whether zones lie in our own database.
    pub(super) fn is_embedded(&self) -> bool {
        self.choice == Choice::Embedded
    }

    /// The embedded driver, where it is the one in use.
    pub(super) fn embedded(&self, context: &Context) -> Option<Arc<Embedded>> {
        let made = || {
            let store = Store::new(context.journal.clone(), &context.node);
            Arc::new(Embedded::new(store, self.servers.clone()))
        };
        self.is_embedded().then(|| self.embedded.get_or_init(made).clone())
    }

    /// The driver in use.
    pub(super) fn driver(&self, context: &Context) -> Result<Arc<dyn Driver>> {
        match self.embedded(context) {
            Some(embedded) => Ok(embedded),
            None => unreachable!("the only driver so far"),
        }
    }
}
