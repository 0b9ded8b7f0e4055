//! Owns what the effects need of their surroundings: which driver performs them, and how it is reached.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use effect::{Code, Context, Error, Result};
use journal::{Clock, Journal};

use crate::Secrets;
use crate::driver::Driver;
use crate::embedded::{Embedded, Store};
use crate::forward::{Transport, Upstream};
use crate::settings::{Choice, External};
use crate::{rest, rfc2136};

/// The surroundings of one run's effects.
pub struct World {
    choice: Choice,
    servers: Vec<SocketAddr>,
    external: External,
    embedded: OnceLock<Arc<Embedded>>,
    other: OnceLock<Arc<dyn Driver>>,
}

/// What a world is put together from.
pub struct Parts {
    /// The driver.
    pub choice: Choice,
    /// Where the embedded server answers.
    pub servers: Vec<SocketAddr>,
    /// The ways to other servers.
    pub external: External,
}

/// What a driver works with.
pub struct Means {
    /// Where zones are recorded.
    pub journal: Journal,
    /// The node that they are kept under.
    pub node: String,
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
            secrets: context.secrets.clone(),
            clock: context.clock.clone(),
        }
    }
}

impl World {
    /// The world as configured. Nothing is opened before it is needed.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { choice, servers, external } = parts;
        Self { choice, servers, external, embedded: OnceLock::new(), other: OnceLock::new() }
    }

    /// Whether zones lie in our own database.
    pub(super) fn is_embedded(&self) -> bool {
        self.choice == Choice::Embedded
    }

    /// The embedded driver, where it is the one in use.
    pub(super) fn embedded(&self, context: &Context) -> Option<Arc<Embedded>> {
        self.is_embedded().then(|| self.embedded_with(|| context.into()))
    }

    fn embedded_with(&self, means: impl FnOnce() -> Means) -> Arc<Embedded> {
        let made = || {
            let Means { journal, node, .. } = means();
            Arc::new(Embedded::new(Store::new(journal, &node), self.servers.clone()))
        };
        self.embedded.get_or_init(made).clone()
    }

    pub(super) fn driver(&self, context: &Context) -> Result<Arc<dyn Driver>> {
        self.driver_with(|| context.into())
    }

    /// The servers that answer for the zones of the driver.
    pub(super) fn answering(&self, context: &Context) -> Result<Vec<Upstream>> {
        let plain = |address| Upstream { address, transport: Transport::Udp, name: None };
        Ok(self.driver(context)?.servers().into_iter().map(plain).collect())
    }

    /// Who is asked where a script names nobody: the platform's own server, else those of the machine.
    pub(super) fn resolvers(&self, context: &Context) -> Result<Vec<Upstream>> {
        let own = self.answering(context)?;
        if !own.is_empty() {
            return Ok(own);
        }
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let found = text
            .lines()
            .filter_map(|line| line.strip_prefix("nameserver"))
            .filter_map(|rest| rest.trim().parse().ok());
        let found: Vec<Upstream> = found.collect();
        if found.is_empty() {
            return Err(Error::new(Code::DnsUnavailable, "this machine has no name servers")
                .hint("say whom to ask: `server = \"192.0.2.1\"`"));
        }
        Ok(found)
    }

    /// The driver in use.
    ///
    /// # Errors
    /// `MC-U002` where mcrun.toml does not describe the server.
    pub fn driver_with(&self, means: impl FnOnce() -> Means) -> Result<Arc<dyn Driver>> {
        let made: Arc<dyn Driver> = match (self.choice, self.other.get()) {
            (Choice::Embedded, _) => return Ok(self.embedded_with(means)),
            (_, Some(made)) => return Ok(made.clone()),
            (Choice::Rfc2136, None) => {
                let settings = self.external.rfc2136.clone().ok_or_else(|| not_described("rfc2136"))?;
                let Means { secrets, clock, .. } = means();
                let secrets = Secrets::new(secrets, "dns:rfc2136");
                Arc::new(rfc2136::Client::new(settings, rfc2136::Parts { secrets, clock })?)
            }
            (Choice::Rest, None) => {
                let settings = self.external.rest.clone().ok_or_else(|| not_described("rest"))?;
                let secrets = Secrets::new(means().secrets, "dns:rest");
                Arc::new(rest::Client::new(settings, rest::Parts { secrets })?)
            }
        };
        Ok(self.other.get_or_init(|| made).clone())
    }
}

fn not_described(driver: &str) -> Error {
    let message = format!("mcrun.toml chooses the dns driver `{driver}`, and has no [drivers.{driver}]");
    Error::new(Code::Config, message).hint(format!("add [drivers.{driver}] with the address of the server"))
}
