//! Owns which proxy performs the effects on routes, and how it is reached.

use std::sync::Arc;

use effect::{Code, Error, Result};
use routes::effects::{Maker, Means, Network, Prober};
use routes::{Certificates, Choice, Driver};

use crate::config::Config;
use crate::shown::Shown;

/// What mcrun.toml says of proxies.
pub(crate) struct Proxies {
    choice: Choice,
}

impl Proxies {
    pub(crate) fn new(config: &Config) -> Self {
        Self { choice: config.drivers.routes }
    }
}

impl Maker for Proxies {
    fn driver(&self, _: Means) -> Result<Arc<dyn Driver>> {
        match self.choice {
            Choice::Embedded => Err(not_described("embedded")),
            Choice::Caddy => Err(not_described("caddy")),
            Choice::Remote => Err(not_described("remote")),
        }
    }

    fn certificates(&self, means: Means) -> Arc<dyn Certificates> {
        Arc::new(Shown::from(means))
    }

    fn prober(&self) -> Arc<dyn Prober> {
        Arc::new(Network)
    }
}

fn not_described(driver: &str) -> Error {
    let message = format!("mcrun.toml chooses the routes driver `{driver}`, and has no [drivers.{driver}]");
    Error::new(Code::Config, message).hint(format!("add [drivers.{driver}] with the address of the proxy"))
}
