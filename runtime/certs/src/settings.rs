//! Owns what mcrun.toml says of certificates: `[certs]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use effect::{Code, Error, Result};
use serde::Deserialize;

use crate::policy::{Policy, Rules};
use crate::profile::{ProfileSettings, Profiles};
use crate::{acme, embedded, ssh, vault};

/// Which driver performs the primitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The authority in the state directory.
    #[default]
    Embedded,
    /// An authority that speaks ACME.
    Acme,
    /// An authority that speaks as Vault does.
    Vault,
}

impl Choice {
    /// The driver with this name; the embedded one for a name that this version does not know.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "acme" => Self::Acme,
            "vault" => Self::Vault,
            _ => Self::Embedded,
        }
    }
}

/// The ways to other authorities: `[drivers.acme]` and `[drivers.vault]`.
#[derive(Debug, Clone, Default)]
pub struct External {
    /// An authority that speaks ACME.
    pub acme: Option<acme::driver::Settings>,
    /// An authority that speaks as Vault does.
    pub vault: Option<vault::Settings>,
}

/// `[certs]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether every name may stand in a certificate: for tests of scripts.
    #[serde(skip)]
    pub everything: bool,
    /// The name that the embedded authority's own certificates bear.
    pub name: Option<String>,
    /// Where lists of revoked certificates and the authority's own certificates are found by others:
    /// `http://ca.example:8880`.
    pub url: Option<String>,
    /// Where `mcrun serve` listens for those who fetch them.
    pub listen: Option<SocketAddr>,
    /// Domains and networks beyond which nothing that the embedded authority signs is valid.
    pub constraints: Vec<String>,
    /// Internal domains, beyond those that are private anyway.
    pub domains: Vec<String>,
    /// Domains that certificates of a public profile may name.
    pub public_domains: Vec<String>,
    /// IP addresses that may be named, as globs, beyond loopback ones.
    pub addresses: Vec<String>,
    /// Which names each service may have, as globs.
    pub services: Option<BTreeMap<String, Vec<String>>>,
    /// The authority for SSH.
    pub ssh: ssh::Settings,
    /// The ACME server, where there is to be one.
    pub acme_server: Option<acme::server::Settings>,
    /// Profiles beyond `server`, `client`, `both` and `public`.
    pub profiles: BTreeMap<String, ProfileSettings>,
}

impl Settings {
    /// The policy on names.
    ///
    /// # Errors
    /// `MC-U002` where a domain or a pattern makes no sense.
    pub fn policy(&self) -> Result<Policy> {
        Policy::new(&Rules {
            domains: self.domains.clone(),
            public_domains: self.public_domains.clone(),
            services: self.services.clone(),
            addresses: self.addresses.clone(),
            everything: self.everything,
        })
    }

    /// Every profile.
    ///
    /// # Errors
    /// `MC-U002` where one makes no sense.
    pub fn profiles(&self) -> Result<Profiles> {
        Profiles::new(&self.profiles)
    }

    /// What the embedded authority takes of it.
    #[must_use]
    pub fn embedded(&self) -> embedded::Settings {
        embedded::Settings {
            name: self.name.clone(),
            url: self.url.clone(),
            constraints: self.constraints.clone(),
        }
    }

    /// Refuses what the syntax cannot tell.
    ///
    /// # Errors
    /// `MC-U002` with the key that makes no sense.
    pub fn check(&self) -> Result<()> {
        self.policy()?;
        let profiles = self.profiles()?;
        if let Some(server) = &self.acme_server {
            server.host()?;
            profiles.get(&server.profile).map_err(|error| Error::new(Code::Config, error.message))?;
        }
        self.embedded().check()
    }
}
