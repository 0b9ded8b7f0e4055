//! Owns what `doctor` says of routes: whether the proxy answers, and for each route the first hop at which a request would
//! break, from outside and from inside.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use dns::{Name, RecordType};
use effect::Result;
use futures_util::stream::{self, StreamExt as _};
use routes::driver::Standing;
use routes::hops::{self, Hop};
use routes::{Choice, probe};
use rustls::{ClientConfig, RootCertStore};

use super::{Check, Verdict};
use crate::app::App;
use crate::{render, wiring};

/// Routes that are looked at together.
const AT_ONCE: usize = 16;
/// For a name to be looked up.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn checks(app: &App) -> Vec<Check> {
    const NAME: &str = "routes: driver";
    let settings = &app.config.routes;
    if app.config.drivers.routes == Choice::Embedded && settings.addresses.is_empty() {
        return vec![Check::good(
            NAME,
            "embedded, not in use; `addresses` under [routes] in mcrun.toml says where it serves",
        )];
    }
    let listed = async {
        let driver = super::super::routes::driver(app)?;
        Result::Ok((driver.name(), driver.list().await?))
    };
    match listed.await {
        Ok((name, standings)) => {
            let count = render::count(standings.len() as u64, "route");
            let mut checks = vec![Check::good(NAME, format!("{name}, with {count}"))];
            checks.extend(each(app, &standings).await);
            checks
        }
        Err(error) => vec![Check::of(NAME, Verdict::Bad, &error)],
    }
}

async fn each(app: &App, standings: &[Standing]) -> Vec<Check> {
    let trusted = match trusted(app).await {
        Ok(trusted) => Arc::new(trusted),
        Err(error) => return vec![Check::of("routes: authorities", Verdict::Bad, &error)],
    };
    let looks = standings.iter().map(|standing| look(app, standing, trusted.clone()));
    stream::iter(looks).buffered(AT_ONCE).collect().await
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

async fn look(app: &App, standing: &Standing, trusted: Arc<ClientConfig>) -> Check {
    const NAME: &str = "route";
    let route = &standing.route;
    let mut way = Vec::new();
    for address in proxies(app) {
        way.extend(hops::from_outside(route, address, &trusted).await);
    }
    let is_asked = route.redirect.is_none() && route.maintenance.is_none();
    if is_asked {
        way.extend(hops::to_backends(route).await);
    }
    way.extend(name(app, standing).await);
    let features = way.iter().map(|hop| hop.what.clone()).collect();
    match hops::broken(&way) {
        // Requests wait on purpose: that is said, and does not count as broken.
        _ if standing.paused => Check {
            name: NAME,
            verdict: Verdict::Missing,
            what: format!("{}: paused, requests wait", route.key()),
            hint: Some(format!("`mcrun routes resume {}` has them go on", route.key())),
            features,
        },
        None => Check { features, ..Check::good(NAME, format!("{}: {}", route.key(), summary(&way))) },
        Some(hop) => Check {
            name: NAME,
            verdict: Verdict::Bad,
            what: format!("{}: {}: {}", route.key(), hop.what, hop.problem.as_deref().unwrap_or_default()),
            hint: Some("every hop before that one works".into()),
            features,
        },
    }
}

fn summary(way: &[Hop]) -> String {
    format!("{} work", render::count(way.len() as u64, "hop"))
}

/// Where the proxy is reached from this machine.
fn proxies(app: &App) -> BTreeSet<IpAddr> {
    let own = |address: &IpAddr| match address {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => *other,
    };
    app.config.routes.addresses.iter().map(own).collect()
}

/// Whether the name leads anywhere: by our own records where we have its zone, else as this machine looks names up.
async fn name(app: &App, standing: &Standing) -> Option<Hop> {
    let hostname = &standing.route.hostname;
    if hostname.is_any() || hostname.wildcard_suffix().is_some() {
        return None;
    }
    let what = format!("the name {hostname}");
    if let Some(found) = recorded(app, hostname.as_str()).await {
        return Some(Hop::new(what, found));
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
    let driver = super::super::names::driver(app).ok()?;
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
