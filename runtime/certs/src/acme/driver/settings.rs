//! Owns what mcrun.toml says of an ACME authority.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use effect::{Code, Error, Result};
use serde::Deserialize;

use super::ChallengeKind;

/// `[drivers.acme]` of mcrun.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address of the authority's directory.
    pub directory: String,
    /// Whom the authority writes to: `"ops@example.org"`.
    #[serde(default)]
    pub contact: Vec<String>,
    /// A file of certificates in PEM that is trusted for the directory instead of the system's authorities.
    pub ca: Option<PathBuf>,
    /// A file of the roots that peers trust, for an authority that the system does not know.
    pub roots: Option<PathBuf>,
    /// Whether the operator agrees to the authority's terms.
    #[serde(default)]
    pub agree_tos: bool,
    /// Whose account this is, for authorities that ask (RFC 8555, section 7.3.4).
    pub eab: Option<Binding>,
    /// The ways of proving names, the first that fits being taken.
    #[serde(default = "http_only")]
    pub challenges: Vec<ChallengeKind>,
    /// Where the built-in answer to http-01 listens; validators ask at port 80.
    #[serde(default = "http_address")]
    pub http: SocketAddr,
    /// Where the built-in answer to tls-alpn-01 listens; validators ask at port 443.
    #[serde(default = "tls_address")]
    pub tls: SocketAddr,
    /// The common name of the root that the chain shall lead to, where the authority offers several.
    pub preferred_chain: Option<String>,
}

/// An external account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// What the authority calls it.
    pub kid: String,
    /// The secret of mcrun.toml that holds its HMAC key in base64url.
    pub key: String,
}

fn http_only() -> Vec<ChallengeKind> {
    vec![ChallengeKind::Http]
}

fn http_address() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 80).into()
}

fn tls_address() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 443).into()
}

impl Settings {
    /// The contacts as addresses (RFC 8555, section 7.3).
    pub(super) fn contact(&self) -> Vec<String> {
        let one = |contact: &String| {
            if contact.contains(':') { contact.clone() } else { format!("mailto:{contact}") }
        };
        self.contact.iter().map(one).collect()
    }

    pub(super) fn check_terms(&self) -> Result<()> {
        if self.agree_tos {
            return Ok(());
        }
        Err(Error::new(Code::Config, format!("nobody agreed to the terms of `{}`", self.directory))
            .hint("read them, then write `agree_tos = true` under [drivers.acme] in mcrun.toml"))
    }
}
