//! Owns the terms on which requests are taken: who may come, how much, how long, and what is answered without a back end.

use std::collections::BTreeMap;

use effect::units::{Size, Span};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Versions of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// As text.
    V1,
    /// In binary.
    V2,
}

/// Who may come. What is denied counts before what is allowed; where something is allowed, nothing else is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Networks that may come, `192.168.0.0/16`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<IpNet>,
    /// Networks that may not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub deny: Vec<IpNet>,
    /// Countries that may come, by two letters (ISO 3166-1): takes `geoip` under [routes] of mcrun.toml.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_countries: Vec<String>,
    /// Countries that may not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_countries: Vec<String>,
}

impl Access {
    /// Whether everybody may come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty() && !self.asks_countries()
    }

    /// Whether it takes a file of countries.
    #[must_use]
    pub fn asks_countries(&self) -> bool {
        !self.allow_countries.is_empty() || !self.deny_countries.is_empty()
    }
}

/// How much may come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests in a second from one address (connections with `l4`); any number unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// How many of them may come at once; as many as `rate` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Requests under way (connections with `l4`); any number unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// The largest body of a request; any size unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Size>,
    /// The largest head of a request, request line included; at most 64 KiB.
    pub head: Size,
    /// Requests that wait at most while the route is paused; more get 503.
    pub waiting: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rate: None, burst: None, connections: None, body: None, head: Size(32 << 10), waiting: 1024 }
    }
}

/// How long is waited without anything happening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a back end to take a connection.
    pub connect: Span,
    /// For the head of its answer, once it has the request.
    pub answer: Span,
    /// Without a byte in either direction, tunnels included.
    pub idle: Span,
    /// Octets in a second that a client must send or take, on average over 30 s, while it is its turn.
    pub minimum_rate: u32,
    /// For a request while the route is paused; then 503.
    pub pause: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::seconds(5),
            answer: Span::seconds(60),
            idle: Span::seconds(300),
            minimum_rate: 64,
            pause: Span::seconds(60),
        }
    }
}

/// Headers that are added to answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Headers {
    /// Those that keep browsers from mistakes: `strict-transport-security` (with a certificate), `x-content-type-options`,
    /// `x-frame-options` and `referrer-policy`, each unless the back end sets it.
    pub security: bool,
    /// Others, in the place of what the back end sets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
}

/// Sends clients elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Where: `https://docs.example.net`; `{host}` and `{path}` (with its query) stand for those of the request.
    pub to: String,
    /// With which status: 301, 302, 303, 307 or 308.
    #[serde(default = "default_redirect")]
    pub status: u16,
}

fn default_redirect() -> u16 {
    308
}

/// A page in the place of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// What it says; at most 64 KiB.
    pub text: String,
    /// Its media type.
    pub media: String,
    /// After how long clients may come again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Span>,
}

impl Default for Maintenance {
    fn default() -> Self {
        let text = "This service is being worked on. Please come again soon.\n".into();
        Self { text, media: "text/plain; charset=utf-8".into(), retry_after: None }
    }
}
