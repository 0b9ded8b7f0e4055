//! Owns `routes top`: rates, latencies and back ends, as a table that is drawn anew on a terminal and printed once
//! elsewhere.

use std::time::Duration;

use effect::Result;
use routes::driver::check_feature;
use routes::{Driver, Feature, Figures};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::screen::{self, bytes};
use crate::exit::Exit;
use crate::render::{self, Table};

/// What happened on a route between two looks, in a second.
struct Rates {
    requests: f64,
    failed: f64,
    received: f64,
    sent: f64,
}

impl Rates {
    /// A proxy that began anew counts from nothing.
    fn between(earlier: Option<&Figures>, later: &Figures, apart: Duration) -> Self {
        let seconds = apart.as_secs_f64().max(0.001);
        let rate = |of: fn(&Figures) -> u64| {
            let before = earlier.map_or(of(later), of);
            of(later).checked_sub(before).unwrap_or_else(|| of(later)) as f64 / seconds
        };
        let failed =
            |figures: &Figures| figures.failed + figures.statuses.get(&5).copied().unwrap_or_default();
        Self {
            requests: rate(|figures| figures.requests),
            failed: rate(failed),
            received: rate(|figures| figures.received),
            sent: rate(|figures| figures.sent),
        }
    }
}

pub(super) async fn top(driver: &dyn Driver, once: bool, every: u64, as_json: bool) -> Result<Exit> {
    check_feature(driver, Feature::Figures)?;
    let mut before = (driver.figures().await?, Instant::now());
    if once || as_json || !screen::is_there() {
        tokio::time::sleep(screen::SHORT).await;
        let (after, now) = (driver.figures().await?, Instant::now());
        let rows = rows(&before.0, &after, now - before.1);
        match as_json {
            true => {
                render::json(&rows.iter().map(|(figures, rates)| data(figures, rates)).collect::<Vec<_>>())
            }
            false => table(&rows).print(),
        }
        return Ok(Exit::Done);
    }
    screen::live(Duration::from_secs(every), async || {
        let (after, now) = (driver.figures().await?, Instant::now());
        let lines = table(&rows(&before.0, &after, now - before.1)).lines();
        before = (after, now);
        Ok(lines)
    })
    .await
}

/// The routes, those with the most requests first.
fn rows<'a>(before: &[Figures], after: &'a [Figures], apart: Duration) -> Vec<(&'a Figures, Rates)> {
    let earlier = |figures: &Figures| before.iter().find(|earlier| earlier.route == figures.route);
    let mut rows: Vec<_> =
        after.iter().map(|figures| (figures, Rates::between(earlier(figures), figures, apart))).collect();
    rows.sort_by(|(one, one_rates), (other, other_rates)| {
        other_rates.requests.total_cmp(&one_rates.requests).then_with(|| one.route.cmp(&other.route))
    });
    rows
}

fn table(rows: &[(&Figures, Rates)]) -> Table {
    let mut table = Table::new(&[
        "route",
        "requests/s",
        "failed/s",
        "under way",
        "tunnels",
        "waiting",
        "p50",
        "p99",
        "in/s",
        "out/s",
        "back ends",
    ]);
    for (figures, rates) in rows {
        let waiting = match figures.paused {
            true => format!("{} (paused)", figures.waiting),
            false => figures.waiting.to_string(),
        };
        table.row([
            figures.route.clone(),
            format!("{:.1}", rates.requests),
            format!("{:.1}", rates.failed),
            figures.active.to_string(),
            figures.tunnels.to_string(),
            waiting,
            latency(figures.p50_us),
            latency(figures.p99_us),
            bytes(rates.received as u64),
            bytes(rates.sent as u64),
            backends(figures),
        ]);
    }
    table
}

/// How many are well, and which are not.
fn backends(figures: &Figures) -> String {
    let all = figures.backends.len();
    let out: Vec<String> = figures
        .backends
        .iter()
        .filter(|backend| !backend.healthy)
        .map(|backend| backend.address.to_string())
        .collect();
    match out.is_empty() {
        true if all == 0 => String::new(),
        true => format!("{all} well"),
        false => format!("{} of {all} well, out: {}", all - out.len(), out.join(", ")),
    }
}

fn data(figures: &Figures, rates: &Rates) -> Value {
    let mut value = json!(figures);
    value["rates"] = json!({
        "requests": rates.requests,
        "failed": rates.failed,
        "received": rates.received,
        "sent": rates.sent,
    });
    value
}

/// `340µs`, `3.4ms`, `1.20s`; nothing where nothing was measured.
pub(super) fn latency(micros: u64) -> String {
    match micros {
        0 => "-".to_owned(),
        1..1000 => format!("{micros}µs"),
        1000..1_000_000 => format!("{:.1}ms", micros as f64 / 1e3),
        _ => format!("{:.2}s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(requests: u64) -> Figures {
        Figures { route: "a.test:80".into(), requests, ..Figures::default() }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let rate = |before: Option<u64>, after: u64| {
            let before = before.map(figures);
            Rates::between(before.as_ref(), &figures(after), Duration::from_secs(2)).requests
        };
        assert!((rate(Some(10), 30) - 10.0).abs() < 0.01);
        assert!(rate(None, 30).abs() < 0.01);
        // Begun anew.
        assert!((rate(Some(100), 30) - 15.0).abs() < 0.01);
    }

    #[test]
    fn latencies_are_short() {
        assert_eq!([0, 340, 3_400, 1_200_000].map(latency), ["-", "340µs", "3.4ms", "1.20s"]);
    }
}
