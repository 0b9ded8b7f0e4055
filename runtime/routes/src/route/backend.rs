//! Owns where requests go: back ends, how they are spoken to, and how it is seen whether they are well.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use effect::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The address of a back end: `127.0.0.1:8080`, `[::1]:8080`. Never a host name: what serves names may be behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Backend(pub SocketAddr);

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => Ok(Self(address)),
            _ => {
                let shown: String = text.chars().take(80).collect();
                Err(format!("`{shown}` is not an address with a port, such as \"127.0.0.1:8080\""))
            }
        }
    }
}

impl TryFrom<String> for Backend {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Backend> for String {
    fn from(backend: Backend) -> Self {
        backend.0.to_string()
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How back ends are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, which gRPC takes: with prior knowledge where it is not by TLS.
    Http2,
}

/// TLS to back ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendTls {
    /// The certificates, in PEM, by one of which theirs must be issued. Nothing else is trusted.
    pub ca: String,
    /// The name that their certificate must bear; the route's host name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// How it is seen whether a back end is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The path that is asked for; a connection that is accepted is enough unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// How often.
    #[serde(default = "default_every")]
    pub every: Span,
    /// How long an answer may take.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
}

fn default_every() -> Span {
    Span::seconds(5)
}

fn default_timeout() -> Span {
    Span::seconds(2)
}
