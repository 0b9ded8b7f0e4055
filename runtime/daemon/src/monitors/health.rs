//! Owns whether containers that run answer their health checks. One that fails several times in a row is unhealthy, and
//! healthy again after several that pass.

use std::collections::BTreeMap;
use std::time::Duration;

use ::containers::State;
use effect::Result;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::Parts;
use super::containers::Seen;
use super::memory::{Changes, Memory};

const FAILURES: u32 = 3;
const SUCCESSES: u32 = 2;
/// Probes under way at once.
const AT_ONCE: usize = 8;
/// A probe takes no longer, whatever the check says.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What was found in a row.
#[derive(Debug, Default)]
pub(super) struct Watch {
    found: BTreeMap<String, Row>,
}

#[derive(Debug)]
struct Row {
    failures: u32,
    successes: u32,
    probed: Instant,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stood {
    unhealthy: bool,
}

impl Watch {
    pub(super) async fn compare(
        &mut self,
        parts: &Parts<'_>,
        memory: &mut Memory,
        seen: &Seen,
    ) -> Result<()> {
        let begun = Instant::now();
        let probes: Vec<_> = seen
            .settled()
            .filter_map(|(service, name)| {
                let (driver, container) = seen.find(name)?;
                let health = container.health.as_ref().filter(|_| container.state == State::Running)?;
                let interval = health.interval.map_or(Duration::ZERO, |interval| interval.0);
                let is_due = self.found.get(name).is_none_or(|row| begun - row.probed >= interval);
                let patience = health.timeout.map_or(PATIENCE, |timeout| timeout.0.min(PATIENCE));
                is_due.then_some((service, driver, container, patience))
            })
            .collect();
        self.found.retain(|name, _| seen.find(name).is_some_and(|(_, found)| found.state == State::Running));
        let outcomes: Vec<_> = stream::iter(probes)
            .map(|(service, driver, container, patience)| async move {
                (service, &container.name, parts.judge.probe(driver, container, patience).await)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut changes = Changes::default();
        for (service, name, outcome) in outcomes {
            // What a run has begun to change meanwhile is its business.
            if parts.journal.holder_of_lease(parts.node, service).is_some() {
                continue;
            }
            let fresh = Row { failures: 0, successes: 0, probed: begun };
            let row = self.found.entry(name.clone()).or_insert(fresh);
            row.probed = begun;
            let is_good = outcome.is_ok();
            (row.failures, row.successes) = if is_good {
                (0, row.successes.saturating_add(1))
            } else {
                (row.failures.saturating_add(1), 0)
            };
            let key = format!("health/{name}");
            let was_bad = memory.of::<Stood>(&key).await?.is_some_and(|stood| stood.unhealthy);
            match outcome {
                Err(message) if !was_bad && row.failures >= FAILURES => {
                    let data = json!({ "service": service, "container": name, "message": message });
                    changes.tell("service.unhealthy", data);
                    changes.keep(key, &Stood { unhealthy: true });
                }
                Ok(()) if was_bad && row.successes >= SUCCESSES => {
                    changes.tell("service.healthy", json!({ "service": service, "container": name }));
                    changes.forget(key);
                }
                _ => {}
            }
        }
        memory.settle(changes).await
    }
}
