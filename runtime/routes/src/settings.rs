//! Owns what mcrun.toml says of routes: `[routes]`, and which driver performs the primitive.

mod api;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use effect::units::Span;
use effect::{Code, Error, Result};
use ipnet::IpNet;
use serde::Deserialize;

pub use api::{Api, Client};

const MOST_ADDRESSES: usize = 32;

/// Which driver performs the primitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The proxy in the edge.
    #[default]
    Embedded,
    /// Caddy, by its admin API.
    Caddy,
    /// The proxy of another mcrun.
    Remote,
}

/// The log of requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// The file: one line of JSON for each request.
    pub file: PathBuf,
    /// At how many MiB it is begun anew, with one that is kept.
    #[serde(default = "default_log_size")]
    pub size: u64,
}

fn default_log_size() -> u64 {
    64
}

/// `[routes]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The addresses at whose ports routes are served: nowhere unless given.
    pub addresses: Vec<IpAddr>,
    /// The ports that routes may take; every one unless given.
    pub ports: Vec<u16>,
    /// The port at which plain requests are sent to `https` where a route with a certificate has the name, and at which
    /// proofs for certificate authorities are offered.
    pub http: Option<u16>,
    /// Networks of other proxies, whose PROXY protocol headers say where clients come from.
    pub proxy_from: Vec<IpNet>,
    /// Networks of other proxies, whose `x-forwarded-for` and `x-forwarded-proto` are kept.
    pub trusted: Vec<IpNet>,
    /// The file in which countries of addresses are looked up (MaxMind's format).
    pub geoip: Option<PathBuf>,
    /// The log of requests; none unless given.
    pub access_log: Option<AccessLog>,
    /// Where figures are shown to Prometheus.
    pub metrics: Option<SocketAddr>,
    /// Connections of clients at most.
    pub connections: usize,
    /// After an edge was succeeded: how long what runs over it may go on.
    pub linger: Span,
    /// Who may drive this proxy from afar.
    pub api: Api,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            ports: Vec::new(),
            http: None,
            proxy_from: Vec::new(),
            trusted: Vec::new(),
            geoip: None,
            access_log: None,
            metrics: None,
            connections: 20_000,
            linger: Span::seconds(24 * 3600),
            api: Api::default(),
        }
    }
}

impl Settings {
    /// Refuses what the syntax cannot tell.
    ///
    /// # Errors
    /// `MC-U002` with the key that makes no sense.
    pub fn check(&self) -> Result<()> {
        self.api.check()?;
        let wrong = |what: String| Err(Error::new(Code::Config, what));
        if self.addresses.len() > MOST_ADDRESSES {
            return wrong(format!("`routes.addresses` has more than {MOST_ADDRESSES} addresses"));
        }
        for (index, address) in self.addresses.iter().enumerate() {
            if self.addresses[..index].contains(address) {
                return wrong(format!("`routes.addresses` has `{address}` twice"));
            }
        }
        if self.ports.contains(&0) || self.http == Some(0) {
            return wrong("[routes]: a port is a number from 1 to 65535".into());
        }
        if self.connections == 0 {
            return wrong("`routes.connections` is at least 1".into());
        }
        Ok(())
    }

    /// Whether routes may be served at `port`.
    #[must_use]
    pub fn may_serve(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }
}
