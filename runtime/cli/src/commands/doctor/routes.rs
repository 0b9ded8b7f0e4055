//! Owns what `doctor` says of routes: whether the proxy answers, and for each route the first hop at which a request would
//! break, from outside and from inside.

use effect::Result;
use routes::driver::Standing;
use routes::hops::{self, Hop};

use super::super::ways::{self, Names};
use super::{Check, Verdict};
use crate::app::App;
use crate::render;

pub(super) async fn checks(app: &App) -> Vec<Check> {
    const NAME: &str = "routes: driver";
    if !ways::serves(app) {
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
    match ways::of(app, standings, Names::LookedUp).await {
        Ok(found) => standings.iter().zip(found).map(|(standing, way)| check(standing, &way)).collect(),
        Err(error) => vec![Check::of("routes: authorities", Verdict::Bad, &error)],
    }
}

fn check(standing: &Standing, way: &[Hop]) -> Check {
    const NAME: &str = "route";
    let route = &standing.route;
    let features = way.iter().map(|hop| hop.what.clone()).collect();
    match hops::broken(way) {
        // Requests wait on purpose: that is said, and does not count as broken.
        _ if standing.paused => Check {
            name: NAME,
            verdict: Verdict::Missing,
            what: format!("{}: paused, requests wait", route.key()),
            hint: Some(format!("`mcrun routes resume {}` has them go on", route.key())),
            features,
        },
        None => Check { features, ..Check::good(NAME, format!("{}: {}", route.key(), summary(way))) },
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
