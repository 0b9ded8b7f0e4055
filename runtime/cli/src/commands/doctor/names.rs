//! Owns what `doctor` says of names: whether the name server answers, whether those that it falls back to do, and whether
//! this machine could still look names up without it.

use std::net::IpAddr;

use daemon::edge::supervise;
use dns::forward::{Forwarder, OwnedQuestion, Step};
use dns::{Choice, Feature, RecordType};
use effect::{Code, Error, Result};

use super::{Check, Verdict};
use crate::app::App;

pub(super) async fn checks(app: &App) -> Vec<Check> {
    let mut checks = vec![server(app)];
    checks.extend(driver(app).await);
    if !app.config.dns.listen.is_empty() {
        checks.push(fallback(app).await);
        checks.extend(this_machine(app));
    }
    checks
}

fn check(name: &'static str, verdict: Verdict, what: String, hint: Option<&str>) -> Check {
    Check { name, verdict, what, hint: hint.map(str::to_owned), features: Vec::new() }
}

fn server(app: &App) -> Check {
    const NAME: &str = "dns: server";
    if app.config.dns.listen.is_empty() {
        return Check::good(
            NAME,
            "embedded, not in use; `listen` under [dns] in mcrun.toml says where it answers",
        );
    }
    let Some(standing) = supervise::standing(&app.state) else {
        return check(
            NAME,
            Verdict::Bad,
            "it does not answer".into(),
            Some("`mcrun serve` starts it and looks after it"),
        );
    };
    let listen = standing.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let zones = crate::render::count(standing.zones.len() as u64, "zone");
    if standing.settings != super::super::edge::settings(&app.config) {
        let what = format!("answers at {listen} with earlier settings");
        return check(
            NAME,
            Verdict::Missing,
            what,
            Some("restart `mcrun serve`: no question is lost by that"),
        );
    }
    Check::good(NAME, format!("answers at {listen}, with {zones}"))
}

/// Whether the server of another kind can be worked with.
async fn driver(app: &App) -> Option<Check> {
    const NAME: &str = "dns: driver";
    let (choice, zones) = match app.config.drivers.dns {
        Choice::Embedded => return None,
        Choice::Rfc2136 => {
            ("rfc2136", app.config.drivers.rfc2136.as_ref().map(|settings| settings.zones.clone()))
        }
        Choice::Rest => ("rest", None),
    };
    let asked = async {
        let driver = super::super::names::driver(app)?;
        let mut found = Vec::new();
        if driver.features().contains(&Feature::ZoneList) {
            found = driver.zones().await?.iter().map(|zone| zone.zone.to_string()).collect();
        }
        for zone in zones.unwrap_or_default() {
            let name = dns::Name::absolute(&zone)?;
            driver
                .zone(&name)
                .await?
                .ok_or_else(|| Error::new(Code::DnsZone, format!("the server has no zone `{zone}`")))?;
            found.push(zone);
        }
        Result::Ok(found)
    };
    Some(match asked.await {
        Ok(zones) if zones.is_empty() => Check::good(NAME, format!("{choice}; no zone of it is named here")),
        Ok(zones) => Check::good(NAME, format!("{choice}, has {}", zones.join(", "))),
        Err(error) => Check::of(NAME, Verdict::Bad, &error),
    })
}

/// Whether those answer that are asked for other names, above all those that are asked when everybody else fails.
async fn fallback(app: &App) -> Check {
    const NAME: &str = "dns: fallback";
    let forward = &app.config.dns.forward;
    if !forward.enabled() {
        return check(
            NAME,
            Verdict::Missing,
            "names that are not ours are refused".into(),
            Some(
                "name `resolvers` and a `fallback` under [dns.forward], so that clients need no other server",
            ),
        );
    }
    let asked = async {
        let question = OwnedQuestion::new(".", RecordType::NS.number().into())
            .map_err(|error| Error::new(Code::Internal, "the root cannot be asked for").because(error))?;
        Result::Ok(Forwarder::new(forward)?.probe(&question).await)
    };
    let steps = match asked.await {
        Ok(steps) => steps,
        Err(error) => return Check::of(NAME, Verdict::Bad, &error),
    };
    let (mut good, mut silent, mut is_covered) = (Vec::new(), Vec::new(), false);
    for step in &steps {
        let Step::Asked { upstream, outcome, .. } = step else { continue };
        match outcome {
            Ok(_) => {
                is_covered |= forward.fallback.contains(upstream);
                good.push(upstream.to_string());
            }
            Err(failure) => silent.push(format!("{upstream}: {failure}")),
        }
    }
    match (is_covered, silent.is_empty()) {
        (true, true) => Check::good(NAME, format!("{} answer", good.join(", "))),
        (true, false) => check(
            NAME,
            Verdict::Missing,
            format!("{} answer; {}", good.join(", "), silent.join("; ")),
            Some("name others under [dns.forward]: each that is silent costs time"),
        ),
        (false, _) => check(
            NAME,
            Verdict::Bad,
            format!("no fallback answers: {}", silent.join("; ")),
            Some(
                "name resolvers that do not depend on this platform: `fallback = [\"1.1.1.1\", \"8.8.8.8\"]`",
            ),
        ),
    }
}

/// Whether this machine asks anybody but the server that it runs itself.
fn this_machine(app: &App) -> Option<Check> {
    const NAME: &str = "dns: this machine";
    let text = std::fs::read_to_string("/etc/resolv.conf").ok()?;
    let servers: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse().ok())
        .collect();
    let own: Vec<IpAddr> = app.config.dns.servers().iter().map(|address| address.ip()).collect();
    let is_own = |address: &IpAddr| own.contains(address);
    if servers.is_empty() || !servers.iter().any(is_own) {
        return None;
    }
    Some(match servers.iter().all(is_own) {
        false => Check::good(NAME, "asks its own name server, and another one when that is gone"),
        true => check(
            NAME,
            Verdict::Missing,
            "asks nobody but its own name server (/etc/resolv.conf)".into(),
            Some("add a `nameserver` that does not depend on it: repairing it may take names"),
        ),
    })
}
