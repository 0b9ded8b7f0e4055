//! Owns `top`: what containers use, as a table that is drawn anew on a terminal and printed once elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use containers::effects::Used;
use containers::{Observed, Usage, usage};
use effect::Result;
use serde_json::json;
use tokio::time::Instant;

use crate::app::App;
use crate::exit::Exit;
use crate::render::{self, Table};
use crate::wiring;

/// The time between the two readings of a measurement that is printed once.
const SHORT: Duration = Duration::from_millis(500);
/// The other screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const CLEAR: &str = "\x1b[H\x1b[J";

/// Readings by container and start: one that was started again counts from nothing.
type Readings = BTreeMap<(String, Option<u32>), Usage>;

pub(super) async fn top(app: &App, all: bool, once: bool, every: u64, as_json: bool) -> Result<Exit> {
    if once || as_json || !std::io::stdout().is_terminal() {
        let (_, before, started) = read(app, all).await?;
        tokio::time::sleep(SHORT).await;
        let (containers, after, ended) = read(app, all).await?;
        show(&containers, &before, &after, ended - started, as_json);
        return Ok(Exit::Done);
    }
    let _screen = Screen::enter();
    tokio::select! {
        shown = live(app, all, Duration::from_secs(every)) => shown,
        () = interrupted() => Ok(Exit::Done),
    }
}

async fn live(app: &App, all: bool, every: Duration) -> Result<Exit> {
    let (_, mut before, mut started) = read(app, all).await?;
    let mut pause = SHORT;
    loop {
        tokio::time::sleep(pause).await;
        pause = every;
        let (containers, after, ended) = read(app, all).await?;
        let lines = table(&containers, &before, &after, ended - started).lines();
        let room =
            render::terminal_size().map_or(usize::MAX, |(_, rows)| usize::from(rows).saturating_sub(1));
        let mut text = CLEAR.to_owned();
        for line in lines.iter().take(room) {
            text.push_str(line);
            text.push_str("\r\n");
        }
        let mut stdout = anstream::stdout();
        if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            // The terminal is gone.
            return Ok(Exit::Done);
        }
        (before, started) = (after, ended);
    }
}

/// Ctrl-C, or the terminal going away.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut end), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = end.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// The screen of its own; dropping it brings back what was there.
struct Screen;

impl Screen {
    fn enter() -> Self {
        write(ENTER);
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(LEAVE);
    }
}

fn write(text: &str) {
    let mut stdout = std::io::stdout();
    // Nothing is left to be restored when the terminal is gone.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
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

/// `12.3MiB`.
fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count}B") } else { format!("{value:.1}{}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(
            [0, 1023, 1024, 1536 << 10, 3 << 30].map(bytes),
            ["0B", "1023B", "1.0KiB", "1.5MiB", "3.0GiB"]
        );
        assert_eq!(bytes(u64::MAX), "16777216.0TiB");
    }
}
