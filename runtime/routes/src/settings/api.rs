//! Owns what mcrun.toml says of who may drive this proxy: `[routes.api]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use effect::access::Rule;
use effect::{Code, Error, Result};
use ipnet::IpNet;
use serde::Deserialize;

use crate::route::Hostname;

const MOST_CLIENTS: usize = 256;

/// `[routes.api]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// A socket for those on this machine.
    pub socket: Option<PathBuf>,
    /// The group that may use the socket, beside this user.
    pub group: Option<String>,
    /// Where `mcrun serve` listens for others, by mutual TLS.
    pub listen: Option<SocketAddr>,
    /// The host name that its certificate bears.
    pub host: Option<String>,
    /// The file of certificates (PEM) by one of which those of clients are issued; the embedded authority's unless given.
    pub client_ca: Option<PathBuf>,
    /// The domains whose names public routes may have; every one unless given.
    pub domains: Vec<Hostname>,
    /// The domains whose names never stand on a public route, nor on any route of a client.
    pub internal: Vec<Hostname>,
    /// Who may make calls by mutual TLS: what each may, by a name that its certificate bears.
    pub clients: BTreeMap<String, Client>,
}

/// What a client may.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The domains whose names its routes may have.
    pub domains: Vec<Hostname>,
    /// The services that its routes may belong to; any unless given.
    pub services: Option<BTreeSet<String>>,
    /// The networks that its back ends may be in; any but this machine's own addresses unless given.
    pub backends: Option<Vec<IpNet>>,
}

impl Api {
    /// Refuses what the syntax cannot tell.
    ///
    /// # Errors
    /// `MC-U002` with the key that makes no sense.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(Code::Config, format!("[routes.api]: {what}")));
        if self.group.is_some() && self.socket.is_none() {
            return wrong("`group` is for `socket`, which is not given");
        }
        if self.listen.is_some() != self.host.is_some() {
            return wrong("`listen` and `host` go together");
        }
        if self.listen.is_none() && (self.client_ca.is_some() || !self.clients.is_empty()) {
            return wrong("`clients` and `client_ca` are for `listen`, which is not given");
        }
        if self.clients.len() > MOST_CLIENTS {
            return wrong("`clients` has more than 256 of them");
        }
        let lists = self.clients.values().map(|client| &client.domains);
        for domain in lists.chain([&self.domains, &self.internal]).flatten() {
            if domain.is_any() || domain.wildcard_suffix().is_some() {
                return wrong(&format!("`{domain}` is a pattern; a domain stands for every name beneath it"));
            }
        }
        Ok(())
    }

    /// What `clients` mean, as rules of access, each with its name: the policy lets each make calls, which go no further than
    /// its domains, services and back ends.
    #[must_use]
    pub fn rules(&self) -> Vec<(String, Rule)> {
        let rule = |name: &String| {
            (format!("[routes.api] clients: {name}"), Rule::for_certificate(name, "routes.*"))
        };
        self.clients.keys().map(rule).collect()
    }

    /// Whether anybody may make calls.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.socket.is_some() || self.listen.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_refused_by_its_key() {
        let check = |text: &str| toml::from_str::<Api>(text).unwrap().check();
        check("socket = \"/run/a\"\ngroup = \"mcrun\"").unwrap();
        check("listen = \"192.0.2.1:9443\"\nhost = \"a.example\"\n[clients.a]\ndomains = []").unwrap();
        for (text, word) in [
            ("group = \"mcrun\"", "`group`"),
            ("listen = \"192.0.2.1:9443\"", "`host`"),
            ("host = \"a.example\"", "`listen`"),
            ("[clients.a]\ndomains = []", "`clients`"),
            ("client_ca = \"/a\"", "`client_ca`"),
            ("domains = [\"*.example\"]", "is a pattern"),
            ("internal = [\"*\"]", "is a pattern"),
        ] {
            let error = check(text).unwrap_err();
            assert_eq!(error.code, Code::Config);
            assert!(error.message.contains(word), "{text}: {error}");
        }
    }
}
