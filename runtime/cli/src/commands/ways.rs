//! Owns the way to what is served: of each route from the proxy to its back ends and its name, and of names to the servers
//! that answer for them. For `doctor`, and for the daemon's monitors.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use dns::forward::{Forwarder, OwnedQuestion, Single, Step, Transport, Upstream};
use dns::{Choice, Name, RecordType};
use effect::{Code, Error, Result};
use futures_util::stream::{self, StreamExt as _};
use routes::driver::Standing;
use routes::hops::{self, Hop};
use routes::probe;
use rustls::{ClientConfig, RootCertStore};

use crate::app::App;
use crate::wiring;

/// Routes that are looked at together.
const AT_ONCE: usize = 16;
/// For a name to be looked up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether this machine has routes to look at.
pub(super) fn serves(app: &App) -> bool {
    app.config.drivers.routes != routes::Choice::Embedded || !app.config.routes.addresses.is_empty()
}

/// Whose word about a host name counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// That of our own records, where its zone is ours.
    Recorded,
    /// Theirs, else what this machine finds when it looks the name up.
    LookedUp,
}

/// Every route with the hops of its way, in the order of `standings`.
///
/// # Errors
/// Where the authorities by which certificates are judged cannot be read.
pub(super) async fn of(app: &App, standings: &[Standing], names: Names) -> Result<Vec<Vec<Hop>>> {
    let trusted = Arc::new(trusted(app).await?);
    let looks = standings.iter().map(|standing| way(app, standing, names, trusted.clone()));
    Ok(stream::iter(looks).buffered(AT_ONCE).collect().await)
}

async fn way(app: &App, standing: &Standing, names: Names, trusted: Arc<ClientConfig>) -> Vec<Hop> {
    let route = &standing.route;
    let mut way = Vec::new();
    for address in addresses(app) {
        way.extend(hops::from_outside(route, address, &trusted).await);
    }
    let is_asked = route.redirect.is_none() && route.maintenance.is_none();
    if is_asked {
        way.extend(hops::to_backends(route).await);
    }
    way.extend(name(app, standing, names).await);
    way
}

/// The system's authorities and our own.
async fn trusted(app: &App) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let own = wiring::authority(app);
    if own.exists().await? {
        roots.add_parsable_certificates(own.trusted().await?);
    }
    probe::trusting(roots)
}

/// Where the proxy is reached from this machine.
fn addresses(app: &App) -> BTreeSet<IpAddr> {
    let own = |address: &IpAddr| match address {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => *other,
    };
    app.config.routes.addresses.iter().map(own).collect()
}

/// Whether the name leads anywhere: by our own records where we have its zone, else as this machine looks names up.
async fn name(app: &App, standing: &Standing, names: Names) -> Option<Hop> {
    let hostname = &standing.route.hostname;
    if hostname.is_any() || hostname.wildcard_suffix().is_some() {
        return None;
    }
    let what = format!("the name {hostname}");
    if let Some(found) = recorded(app, hostname.as_str()).await {
        return Some(Hop::new(what, found));
    }
    if names == Names::Recorded {
        return None;
    }
    let looking = tokio::net::lookup_host((hostname.as_str().to_owned(), standing.route.listen));
    let found = match tokio::time::timeout(PATIENCE, looking).await {
        Ok(Ok(mut found)) => found.next().map(drop).ok_or_else(|| "it has no address".to_owned()),
        Ok(Err(error)) => Err(format!("this machine cannot look it up: {error}")),
        Err(_) => Err("no answer".to_owned()),
    };
    Some(Hop::new(what, found))
}

/// What our records say of a name; nothing where its zone is not ours.
async fn recorded(app: &App, hostname: &str) -> Option<Result<(), String>> {
    let driver = super::names::driver(app).ok()?;
    let name = Name::absolute(hostname).ok()?;
    let zone = dns::zone_of(&*driver, &name).await.ok()??;
    let wildcard = name.parent().and_then(|parent| Name::within("*", &parent).ok());
    for name in std::iter::once(name).chain(wildcard) {
        for rtype in [RecordType::A, RecordType::AAAA, RecordType::CNAME] {
            match driver.get(&zone, &name, rtype).await {
                Ok(Some(_)) => return Some(Ok(())),
                Ok(None) => {}
                Err(error) => return Some(Err(error.message)),
            }
        }
    }
    Some(Err(format!("the zone `{zone}` has no address for it")))
}

/// The servers of names on which clients of this machine depend, and why one does not answer: the one that it runs itself,
/// asked for a zone of its own, and those that it asks for other names.
///
/// # Errors
/// Where they cannot be asked at all.
pub(super) async fn servers(app: &App) -> Result<Vec<(String, Option<String>)>> {
    let mut found = Vec::new();
    let zone = match app.config.drivers.dns {
        Choice::Embedded if !app.config.dns.listen.is_empty() => {
            super::names::driver(app)?.zones().await?.into_iter().next()
        }
        _ => None,
    };
    if let Some(zone) = zone {
        let question = question(&format!("{}.", zone.zone), RecordType::SOA)?;
        for address in app.config.dns.servers() {
            let single = Single::new(Upstream { address, transport: Transport::Udp, name: None })?;
            let answered = single.ask(&question, RecordType::SOA).await;
            found.push((single.upstream().to_string(), answered.err().map(|failure| failure.to_string())));
        }
    }
    let forward = &app.config.dns.forward;
    if !app.config.dns.listen.is_empty() && forward.enabled() {
        for step in Forwarder::new(forward)?.probe(&question(".", RecordType::NS)?).await {
            let Step::Asked { upstream, outcome, .. } = step else { continue };
            found.push((upstream.to_string(), outcome.err().map(|failure| failure.to_string())));
        }
    }
    Ok(found)
}

fn question(name: &str, rtype: RecordType) -> Result<OwnedQuestion> {
    OwnedQuestion::new(name, rtype.number().into())
        .map_err(|error| Error::new(Code::Internal, format!("`{name}` cannot be asked for")).because(error))
}
