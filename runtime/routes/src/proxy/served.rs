//! Owns one version of a route as it is served: who is admitted, and on what terms back ends are spoken to.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use effect::{Code, Error, Result};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::Instant;

use super::countries::Countries;
use super::gate::Shut;
use super::kept::Kept;
use super::log::{Entry, Line};
use super::outward;
use super::shown::Shown;
use super::turn::Turn;
use crate::driver::Standing;
use crate::route::{Key, Mode};

/// How often a client that waits is looked after.
const LOOK: Duration = Duration::from_millis(250);

/// One version of a route. Versions of one key share their counts and what is known of their back ends.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) key: Key,
    pub(crate) standing: Standing,
    /// The certificate that is shown; requests are plain where there is none.
    pub(crate) shown: Option<Arc<Shown>>,
    pub(crate) kept: Arc<Kept>,
    countries: Option<Arc<Countries>>,
    backend_tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its address may not come: 403.
    Forbidden,
    /// Its address comes too often: 429.
    TooMany,
    /// As many are under way, or wait, as may; or the route is gone by now: 503.
    Busy,
    /// The route is paused, and was for too long: 503.
    PausedTooLong,
    /// Whoever sent it left while it waited.
    Left,
}

impl Refusal {
    /// The status of the answer; none where nobody is left to get one.
    pub(crate) fn status(self) -> Option<u16> {
        match self {
            Self::Forbidden => Some(403),
            Self::TooMany => Some(429),
            Self::Busy | Self::PausedTooLong => Some(503),
            Self::Left => None,
        }
    }

    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Forbidden => "this address may not come",
            Self::TooMany => "too many requests",
            Self::Busy => "too much is under way",
            Self::PausedTooLong => "this service is paused",
            Self::Left => "the client left while the route was paused",
        }
    }
}

impl Served {
    /// Refuses what cannot be served.
    pub(crate) fn new(
        standing: Standing,
        shown: Option<Arc<Shown>>,
        kept: Arc<Kept>,
        countries: Option<Arc<Countries>>,
    ) -> Result<Self> {
        let route = &standing.route;
        let refused = |why: &str| Error::new(Code::RouteTerms, format!("route `{}`: {why}", kept.key));
        if shown.is_none() && route.cert.is_some() {
            return Err(refused("its certificate is not there"));
        }
        if route.mode == Mode::L4 && (shown.is_some() || route.path.as_str() != "/") {
            return Err(refused("with mode `l4` there is neither a certificate nor a path"));
        }
        if route.access.asks_countries() && countries.is_none() {
            let hint = "name a file of countries: `geoip` under [routes] in mcrun.toml";
            return Err(refused("its rules on countries take a file in which they are looked up").hint(hint));
        }
        let backend_tls = outward::backend_tls(route).map_err(|why| refused(&why))?;
        Ok(Self { key: kept.key.clone(), standing, shown, kept, countries, backend_tls })
    }

    /// How TLS is spoken to the back ends, and the name that they must bear; none where it is not.
    pub(crate) fn backend_tls(&self) -> Option<&(Arc<ClientConfig>, ServerName<'static>)> {
        self.backend_tls.as_ref()
    }

    fn may_come(&self, client: IpAddr) -> bool {
        let access = &self.standing.route.access;
        if access.is_open() {
            return true;
        }
        let client = client.to_canonical();
        if access.deny.iter().any(|network| network.contains(&client)) {
            return false;
        }
        let country = match &self.countries {
            Some(countries) if access.asks_countries() => countries.of(client),
            _ => None,
        };
        let is_of = |countries: &[String]| {
            country
                .as_ref()
                .is_some_and(|code| countries.iter().any(|other| other.eq_ignore_ascii_case(code)))
        };
        if is_of(&access.deny_countries) {
            return false;
        }
        (access.allow.is_empty() && access.allow_countries.is_empty())
            || access.allow.iter().any(|network| network.contains(&client))
            || is_of(&access.allow_countries)
    }

    /// Admits a request, or a connection with `l4`; it waits while the route is paused. It counts as under way until what
    /// is returned is dropped. What is returned has the version that is served by then. While it waits, `has_left` is
    /// asked now and then whether there is still somebody for whom it does.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        has_left: impl FnMut() -> bool,
    ) -> Result<Turn, Refusal> {
        let admitted = tokio::select! {
            // Only what has to wait comes as far as the second.
            biased;
            admitted = self.try_admit(client) => admitted,
            () = leaving(has_left) => Err(Refusal::Left),
        };
        if admitted.as_ref().is_err_and(|refusal| *refusal != Refusal::Left) {
            self.kept.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Writes a request that was not admitted to the log of requests, where there is one.
    pub(crate) fn log_refused(&self, client: IpAddr, status: Option<u16>, since: Instant, line: Line<'_>) {
        let Some(log) = &self.kept.log else { return };
        log.write(&Entry {
            route: &self.key,
            client,
            status,
            backend: None,
            received: 0,
            sent: 0,
            micros: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
            line,
        });
    }

    async fn try_admit(self: &Arc<Self>, client: IpAddr) -> Result<Turn, Refusal> {
        if !self.may_come(client) {
            return Err(Refusal::Forbidden);
        }
        let (kept, limits) = (&self.kept, &self.standing.route.limits);
        if let Some(rate) = limits.rate
            && !kept.rates.admit(client, rate, limits.burst.unwrap_or(rate))
        {
            return Err(Refusal::TooMany);
        }
        let longest = self.standing.route.timeouts.pause.0;
        loop {
            kept.gate.pass(&kept.counts, limits.waiting, longest).await.map_err(|shut| match shut {
                Shut::TooManyWait => Refusal::Busy,
                Shut::TooLong => Refusal::PausedTooLong,
            })?;
            let most = limits.connections.map_or(usize::MAX, |most| most as usize);
            let under_way = kept.active.enter_within(most).ok_or(Refusal::Busy)?;
            // A pause that came in between must find this one either under way or waiting.
            if kept.gate.is_closed() {
                continue;
            }
            let current = kept.current().ok_or(Refusal::Busy)?;
            return Ok(Turn::new(current, client, under_way));
        }
    }
}

/// Resolves once `has_left` says so.
async fn leaving(mut has_left: impl FnMut() -> bool) {
    loop {
        tokio::time::sleep(LOOK).await;
        if has_left() {
            return;
        }
    }
}
