//! Owns what every driver of routes can do: the trait, its features, and how a route stands. Drivers know nothing of
//! Lua, journal or plan.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use rustls::pki_types::CertificateDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::route::{Backend, Hostname, Key, Mode, Protocol, Route};

/// A route as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// What it says.
    #[serde(flatten)]
    pub route: Route,
    /// Whether requests wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// Something that not every driver has. What a driver lacks is refused when planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Bytes by the name in the ClientHello.
    Passthrough,
    /// Requests by TLS.
    Tls,
    /// Requests without TLS.
    Plain,
    /// Host names with `*`.
    Wildcards,
    /// Paths beside `/`.
    Paths,
    /// Back ends over HTTP/2.
    Http2,
    /// TLS to back ends, with a pinned authority.
    BackendTls,
    /// The PROXY protocol to back ends.
    SendProxy,
    /// Probes of back ends.
    Health,
    /// Requests in a second.
    Rates,
    /// Requests under way at once.
    Connections,
    /// Largest bodies.
    Bodies,
    /// Networks that may or may not come.
    Networks,
    /// Countries that may or may not come.
    Countries,
    /// Headers that are added to answers.
    Headers,
    /// Clients that are sent elsewhere.
    Redirects,
    /// A page in the place of a service.
    Maintenance,
    /// Requests that wait.
    Pause,
    /// Waiting for what is under way, with a hard end.
    Drain,
    /// Figures of each route.
    Figures,
    /// Time-outs of a route's own.
    Timeouts,
}

impl Feature {
    /// Every feature, for doctor and the conformance suite.
    pub const ALL: [Self; 21] = [
        Self::Passthrough,
        Self::Tls,
        Self::Plain,
        Self::Wildcards,
        Self::Paths,
        Self::Http2,
        Self::BackendTls,
        Self::SendProxy,
        Self::Health,
        Self::Rates,
        Self::Connections,
        Self::Bodies,
        Self::Networks,
        Self::Countries,
        Self::Headers,
        Self::Redirects,
        Self::Maintenance,
        Self::Pause,
        Self::Drain,
        Self::Figures,
        Self::Timeouts,
    ];

    /// What every driver must have.
    pub const REQUIRED: [Self; 2] = [Self::Tls, Self::Plain];

    /// The feature in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Passthrough => "routes of mode `l4`",
            Self::Tls => "routes with a certificate",
            Self::Plain => "routes without a certificate",
            Self::Wildcards => "host names with `*`",
            Self::Paths => "paths",
            Self::Http2 => "back ends over HTTP/2",
            Self::BackendTls => "TLS to back ends",
            Self::SendProxy => "the PROXY protocol to back ends",
            Self::Health => "probes of back ends",
            Self::Rates => "limits on the rate of requests",
            Self::Connections => "limits on requests under way",
            Self::Bodies => "limits on bodies",
            Self::Networks => "rules on networks",
            Self::Countries => "rules on countries",
            Self::Headers => "headers of answers",
            Self::Redirects => "redirects",
            Self::Maintenance => "maintenance pages",
            Self::Pause => "pausing",
            Self::Drain => "draining",
            Self::Figures => "figures of routes",
            Self::Timeouts => "time-outs of routes",
        }
    }
}

/// The features that `route` takes.
#[must_use]
pub fn needed(route: &Route) -> Vec<Feature> {
    let any = |is: bool, feature: Feature| is.then_some(feature);
    let limits = &route.limits;
    [
        Some(match (route.mode, route.cert.is_some()) {
            (Mode::L4, _) => Feature::Passthrough,
            (Mode::L7, true) => Feature::Tls,
            (Mode::L7, false) => Feature::Plain,
        }),
        any(route.hostname.is_any() || route.hostname.wildcard_suffix().is_some(), Feature::Wildcards),
        any(route.path.as_str() != "/", Feature::Paths),
        any(route.protocol == Protocol::Http2, Feature::Http2),
        any(route.backend_tls.is_some(), Feature::BackendTls),
        any(route.send_proxy.is_some(), Feature::SendProxy),
        any(route.health.is_some(), Feature::Health),
        any(limits.rate.is_some(), Feature::Rates),
        any(limits.connections.is_some(), Feature::Connections),
        any(limits.body.is_some(), Feature::Bodies),
        any(!route.access.allow.is_empty() || !route.access.deny.is_empty(), Feature::Networks),
        any(route.access.asks_countries(), Feature::Countries),
        any(route.headers.security || !route.headers.set.is_empty(), Feature::Headers),
        any(route.redirect.is_some(), Feature::Redirects),
        any(route.maintenance.is_some(), Feature::Maintenance),
        any(route.timeouts != crate::route::Timeouts::default(), Feature::Timeouts),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A certificate that is shown, with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// The chain, the certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key, in PKCS #8 (DER).
    pub key: Zeroizing<Vec<u8>>,
}

/// Never with the key.
impl std::fmt::Debug for Material {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Material").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Where certificates come from: whoever puts the rooms together fills it in.
#[async_trait]
pub trait Certificates: Send + Sync {
    /// The certificate with this id and its key.
    ///
    /// # Errors
    /// `MC-E008` where there is none.
    async fn material(&self, id: &str) -> Result<Material>;

    /// Refuses a certificate that clients for `hostname` would not take.
    ///
    /// # Errors
    /// `MC-E008` where there is none, `MC-G002` where it does not bear the name or has expired.
    async fn check(&self, id: &str, _hostname: &Hostname) -> Result<()> {
        self.material(id).await.map(drop)
    }
}

/// How draining ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drained {
    /// Requests and connections that came to their end.
    pub ended: u64,
    /// Those that were cut, because they took too long.
    pub cut: u64,
}

/// What has happened on a route since it began to be served. Counts only go up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// The route, `mcq.example.net:443`.
    pub route: String,
    /// Whether requests wait.
    pub paused: bool,
    /// Requests (connections with `l4`).
    pub requests: u64,
    /// Answers by the first digit of their status, `2`; none with `l4`.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests that the proxy itself refused or failed.
    pub failed: u64,
    /// Under way now.
    pub active: u64,
    /// Tunnels open now: WebSockets and other upgraded connections.
    pub tunnels: u64,
    /// Waiting now, while the route is paused.
    pub waiting: u64,
    /// Octets from clients.
    pub received: u64,
    /// Octets to clients.
    pub sent: u64,
    /// Half of the answers began within so many microseconds.
    pub p50_us: u64,
    /// 99 of 100 did.
    pub p99_us: u64,
    /// Its back ends.
    pub backends: Vec<BackendFigures>,
}

/// How a back end stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackendFigures {
    /// Its address.
    pub address: Backend,
    /// Whether requests go to it.
    pub healthy: bool,
    /// Under way now.
    pub active: u64,
    /// Requests that went to it.
    pub requests: u64,
    /// Those that failed there.
    pub failed: u64,
    /// Why it is not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What performs the effects of the primitive: a proxy, or the way to one.
///
/// Every call may be cut anywhere and is then made again. What is said of a route was checked before.
#[async_trait]
pub trait Driver: Send + Sync {
    /// `embedded`, `caddy`, `remote`.
    fn name(&self) -> &'static str;

    /// What it has.
    fn features(&self) -> &[Feature];

    /// Every route, sorted by key.
    ///
    /// # Errors
    /// `MC-G010` to `MC-G012` where the proxy refuses, does not answer, or answers something else.
    async fn list(&self) -> Result<Vec<Standing>>;

    /// The route with this key.
    ///
    /// # Errors
    /// As [`Driver::list`].
    async fn get(&self, key: &Key) -> Result<Option<Standing>>;

    /// Refuses what the proxy could not take, without changing anything: a port that another program holds, a name outside
    /// the allowed domains. Claims of other services are seen by whoever has the list.
    ///
    /// # Errors
    /// `MC-G004` where the port is another program's, and as [`Driver::list`].
    async fn admit(&self, standing: &Standing) -> Result<()>;

    /// Has requests take the route; on return, every new one does, and what ran over back ends that the version before had
    /// and this one has not is over, by itself or, after the route's `drain`, cut. Connections of other routes are never
    /// disturbed.
    ///
    /// # Errors
    /// As [`Driver::admit`]; requests then go as before.
    async fn put(&self, standing: &Standing) -> Result<()>;

    /// Takes the route away. What runs over it ends by itself or, after the route's `drain`, is cut. One that is gone is
    /// no error.
    ///
    /// # Errors
    /// As [`Driver::list`].
    async fn remove(&self, key: &Key) -> Result<()>;

    /// Waits until nothing is under way on a route, or at one of its back ends, and cuts what is left after `within`. New
    /// requests come in all the while: pause the route or take the back end out before. Only with [`Feature::Drain`].
    ///
    /// # Errors
    /// As [`Driver::list`].
    async fn drain(&self, key: &Key, backend: Option<Backend>, within: Duration) -> Result<Drained>;

    /// The figures of every route. Only with [`Feature::Figures`].
    ///
    /// # Errors
    /// As [`Driver::list`].
    async fn figures(&self) -> Result<Vec<Figures>>;
}

/// Refuses what the driver lacks.
///
/// # Errors
/// `MC-C006` naming the missing feature.
pub fn check_feature(driver: &dyn Driver, feature: Feature) -> Result<()> {
    if driver.features().contains(&feature) {
        return Ok(());
    }
    let message = format!("the routes driver `{}` does not have {}", driver.name(), feature.describe());
    Err(Error::new(Code::Unsupported, message)
        .hint("do this at the proxy itself, or choose another driver under [drivers] in mcrun.toml"))
}
