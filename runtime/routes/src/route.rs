//! Owns what a route says: where requests come in, for which host name and path, where they go, and on what terms.

mod backend;
mod check;
mod hostname;
mod key;
mod terms;

use effect::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use backend::{Backend, BackendTls, Health, Protocol};
pub use hostname::Hostname;
pub use key::{Key, Path};
pub use terms::{Access, Headers, Limits, Maintenance, ProxyProtocol, Redirect, Timeouts};

/// At which layer a route is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Bytes, told apart by the name in the ClientHello; the back end has the certificate.
    L4,
    /// Requests; TLS ends here.
    #[default]
    L7,
}

/// A route. Everything but `listen`, `hostname` and `path` can be changed while it is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The port at which it is served.
    #[schemars(range(min = 1))]
    pub listen: u16,
    /// The host name: `mcq.example.net`; `*.example.net` for every name one level beneath it that has no route of its own;
    /// `*` for every name that has none.
    pub hostname: Hostname,
    /// Where paths must begin, by whole segments: `/api` takes `/api` and `/api/x`, not `/apix`. The longest one counts.
    #[serde(default)]
    pub path: Path,
    /// The service that it belongs to. Another service cannot take the host name at this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// At which layer it is served.
    #[serde(default)]
    pub mode: Mode,
    /// Where requests go: those with the fewest under way first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Backend>,
    /// The id of the certificate that is shown; requests are plain HTTP where there is none. Not with `l4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// How back ends are spoken to.
    #[serde(default)]
    pub protocol: Protocol,
    /// By TLS to the back ends, and what they must show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_tls: Option<BackendTls>,
    /// The header by which back ends are told the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_proxy: Option<ProxyProtocol>,
    /// How it is seen whether a back end is well, beside what requests to it show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How often a request that changes nothing is tried at another back end.
    #[serde(default = "default_retries")]
    pub retries: u8,
    /// Who may come.
    #[serde(default, skip_serializing_if = "Access::is_open")]
    pub access: Access,
    /// How much may come.
    #[serde(default)]
    pub limits: Limits,
    /// How long is waited without anything happening. There are no limits on a whole request.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Headers that are added to answers.
    #[serde(default)]
    pub headers: Headers,
    /// Sends clients elsewhere instead of to back ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Answers with a page instead of from back ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Whether it is for everybody: an edge node takes it only for its allowed domains.
    #[serde(default)]
    pub public: bool,
    /// After how long what still runs over an old version is cut.
    #[serde(default = "default_drain")]
    pub drain: Span,
}

fn default_retries() -> u8 {
    2
}

/// What a proxy restart hung on were connections that outlived its drain: it has a hard end.
fn default_drain() -> Span {
    Span::seconds(30)
}

impl Route {
    /// What it is known by.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { listen: self.listen, hostname: self.hostname.clone(), path: self.path.clone() }
    }

    /// What a route of this key says where nobody says anything.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self {
            listen: self.listen,
            hostname: self.hostname.clone(),
            path: self.path.clone(),
            service: None,
            mode: Mode::default(),
            backends: Vec::new(),
            cert: None,
            protocol: Protocol::default(),
            backend_tls: None,
            send_proxy: None,
            health: None,
            retries: default_retries(),
            access: Access::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            headers: Headers::default(),
            redirect: None,
            maintenance: None,
            public: false,
            drain: default_drain(),
        }
    }
}
