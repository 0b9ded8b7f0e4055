//! Owns which proxy performs the effects on routes, and how it is reached.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use daemon::edge::gateway::ToEdge;
use effect::{Code, Error, Result};
use peer::Secrets;
use routes::effects::{Maker, Means, Network, Prober};
use routes::{Certificates, Choice, Driver, Embedded, Hostname, Material, Settings, caddy, remote};

use crate::config::Config;
use crate::shown::Shown;

/// What mcrun.toml says of proxies.
pub(crate) struct Proxies {
    choice: Choice,
    settings: Settings,
    caddy: caddy::Settings,
    remote: Option<remote::Settings>,
    state: PathBuf,
}

impl Proxies {
    pub(crate) fn new(config: &Config, state: &Path) -> Self {
        Self {
            choice: config.drivers.routes,
            settings: config.routes.clone(),
            caddy: config.drivers.caddy.clone(),
            remote: config.drivers.remote.clone(),
            state: state.to_owned(),
        }
    }

    /// The port at which the edge takes plain requests.
    pub(crate) fn http_port(&self) -> Option<u16> {
        self.settings.http
    }

    /// The proxy in the edge, whichever is chosen.
    pub(crate) fn embedded(&self, means: Means) -> Embedded {
        let edge = Arc::new(ToEdge::new(&self.state));
        Embedded::new(means.journal, &means.node, self.settings.clone(), edge)
    }
}

impl Maker for Proxies {
    fn driver(&self, means: Means) -> Result<Arc<dyn Driver>> {
        match self.choice {
            Choice::Embedded => Ok(Arc::new(self.embedded(means))),
            Choice::Caddy => {
                let settings = self.caddy.clone();
                let secrets = Secrets::new(means.secrets.clone(), "routes:caddy");
                let (certificates, routes) = (self.certificates(means), self.settings.clone());
                let parts = caddy::Parts { secrets, certificates, routes };
                Ok(Arc::new(caddy::Client::new(settings, parts)?))
            }
            Choice::Remote => {
                let settings = self.remote.clone().ok_or_else(not_described)?;
                Ok(Arc::new(remote::Client::new(&settings, Arc::new(Shown::from(means)))?))
            }
        }
    }

    fn certificates(&self, means: Means) -> Arc<dyn Certificates> {
        match self.choice {
            Choice::Remote => Arc::new(Elsewhere),
            Choice::Embedded | Choice::Caddy => Arc::new(Shown::from(means)),
        }
    }

    fn prober(&self) -> Arc<dyn Prober> {
        Arc::new(Network)
    }
}

/// The certificates of another mcrun: it looks at them itself, and their keys never leave it.
struct Elsewhere;

#[async_trait]
impl Certificates for Elsewhere {
    async fn material(&self, id: &str) -> Result<Material> {
        let message = format!("the certificate `{id}` is on the side of the proxy, and stays there");
        Err(Error::new(Code::CertificateUnknown, message))
    }

    async fn check(&self, _: &str, _: &Hostname) -> Result<()> {
        Ok(())
    }
}

fn not_described() -> Error {
    let message = "mcrun.toml chooses the routes driver `remote`, and has no [drivers.remote]";
    Error::new(Code::Config, message).hint("add [drivers.remote] with the address of the other mcrun")
}
