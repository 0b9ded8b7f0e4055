//! Owns how clients prove that names are theirs: the trait, and what goes over the network for it.

mod address;
mod dns;
mod http;
mod network;
mod tls;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::network::Network;
use crate::names::Name;

/// A way to prove a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A file on the web server of that name (RFC 8555, section 8.3).
    #[serde(rename = "http-01")]
    Http,
    /// A TXT record beneath it (RFC 8555, section 8.4).
    #[serde(rename = "dns-01")]
    Dns,
    /// A certificate that its TLS server shows (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Http, Self::Dns, Self::TlsAlpn];

    /// The kind as the protocol calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http-01",
            Self::Dns => "dns-01",
            Self::TlsAlpn => "tls-alpn-01",
        }
    }

    /// Whether such a proof says enough about `name`: a host speaks neither for all others of its domain (RFC 8555,
    /// section 7.1.3), nor has an address a zone (RFC 8738, section 7).
    #[must_use]
    pub fn fits(self, name: &Name) -> bool {
        match self {
            Self::Http | Self::TlsAlpn => !name.is_wildcard(),
            Self::Dns => name.domain().is_some(),
        }
    }
}

/// What a client has to show.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The way.
    pub kind: Kind,
    /// The name to be proven.
    pub name: Name,
    /// The token of the challenge, in base64url.
    pub token: String,
    /// The token and the thumbprint of the account's key (RFC 8555, section 8.1).
    pub key_authorization: String,
}

impl Proof {
    /// SHA-256 of the key authorization.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.key_authorization).into()
    }

    /// The same in base64url, as a TXT record holds it.
    #[must_use]
    pub fn digest_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.digest())
    }
}

/// Why a proof has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing could be reached.
    Connection,
    /// The name could not be looked up.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// Something was reached, and said something else.
    Wrong,
}

/// A proof that has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// The same for a person. It repeats nothing that was found: whoever asks may not be whose it is.
    pub detail: String,
}

impl Failure {
    /// A failure for `cause`.
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

/// What looks whether a client shows what it has to.
#[async_trait]
pub trait Prover: Send + Sync {
    /// Looks once. Bounded in time by itself.
    ///
    /// # Errors
    /// Where it is not shown, or cannot be reached.
    async fn prove(&self, proof: &Proof) -> Result<(), Failure>;
}
