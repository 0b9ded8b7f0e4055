//! Owns `top`: what containers use, as a table that is drawn anew on a terminal and printed once elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use containers::effects::Used;
use containers::{Observed, Usage, usage};
use daemon::monitors::standing;
use effect::Result;
use serde_json::json;
use tokio::time::Instant;

use super::inspect;
use super::judge::{self, Judging};
use super::screen::{self, bytes};
use crate::app::App;
use crate::exit::Exit;
use crate::render::{self, Table};
use crate::wiring;

/// Readings by container and start: one that was started again counts from nothing.
type Readings = BTreeMap<(String, Option<u32>), Usage>;

pub(super) async fn top(app: &App, all: bool, once: bool, every: u64, as_json: bool) -> Result<Exit> {
    let (_, mut before, mut started) = read(app, all).await?;
    if before.is_empty() {
        // Where nothing runs, that may be why.
        let judge = Judging(app);
        let listing = standing::listing(&judge::parts(app, &judge), app.config.monitors.patience.0).await?;
        listing.lost.iter().for_each(inspect::warn_of_lost);
    }
    if once || as_json || !screen::is_there() {
        tokio::time::sleep(screen::SHORT).await;
        let (containers, after, ended) = read(app, all).await?;
        show(&containers, &before, &after, ended - started, as_json);
        return Ok(Exit::Done);
    }
    screen::live(Duration::from_secs(every), async || {
        let (containers, after, ended) = read(app, all).await?;
        let lines = table(&containers, &before, &after, ended - started).lines();
        (before, started) = (after, ended);
        Ok(lines)
    })
    .await
}

async fn read(app: &App, all: bool) -> Result<(Vec<Observed>, Readings, Instant)> {
    let mut containers = wiring::containers(app).list().await?;
    containers.retain(|container| (all || container.managed) && container.pid.is_some());
    let read = |container: &Observed| Some((of(container), usage::of(container.pid?)?));
    let readings = containers.iter().filter_map(read).collect();
    Ok((containers, readings, Instant::now()))
}

fn of(container: &Observed) -> (String, Option<u32>) {
    (container.name.clone(), container.pid)
}

fn used(container: &Observed, before: &Readings, after: &Readings, apart: Duration) -> Option<Used> {
    let later = *after.get(&of(container))?;
    let earlier = before.get(&of(container)).copied().unwrap_or(later);
    Some(Used::between(earlier, later, apart, container.memory))
}

fn show(containers: &[Observed], before: &Readings, after: &Readings, apart: Duration, as_json: bool) {
    if !as_json {
        table(containers, before, after, apart).print();
        return;
    }
    let rows = containers.iter().filter_map(|container| {
        let used = used(container, before, after, apart)?;
        Some(json!({
            "name": container.name,
            "service": container.service,
            "driver": container.driver,
            "pid": container.pid,
            "used": used,
        }))
    });
    render::json(&rows.collect::<Vec<_>>());
}

fn table(containers: &[Observed], before: &Readings, after: &Readings, apart: Duration) -> Table {
    let mut table =
        Table::new(&["name", "service", "driver", "cpu", "memory", "limit", "read", "written", "processes"]);
    let mut rows: Vec<(&Observed, Used)> = containers
        .iter()
        .filter_map(|container| Some((container, used(container, before, after, apart)?)))
        .collect();
    // What works most is looked for first.
    rows.sort_by(|(one, one_used), (other, other_used)| {
        other_used.cpus.total_cmp(&one_used.cpus).then_with(|| one.name.cmp(&other.name))
    });
    for (container, used) in rows {
        table.row([
            container.name.clone(),
            container.service.clone().unwrap_or_default(),
            container.driver.clone(),
            format!("{:.1}%", used.cpus * 100.0),
            bytes(used.memory),
            used.memory_limit.map(bytes).unwrap_or_default(),
            bytes(used.read),
            bytes(used.written),
            used.processes.to_string(),
        ]);
    }
    table
}
