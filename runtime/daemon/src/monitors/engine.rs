//! Owns whether the container engine answers, and still has what was deployed on it.

use effect::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Parts;
use super::containers::Seen;
use super::memory::{Changes, Memory};

/// One question that is not answered may be chance.
const FAILURES: u32 = 2;

/// How often in a row it did not answer.
#[derive(Debug, Default)]
pub(super) struct Watch {
    failures: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stood {
    lost: bool,
}

/// Why an engine counts as lost.
struct Trouble {
    message: String,
    recorded: usize,
    /// Unknown where it does not answer.
    found: Option<usize>,
}

/// Beyond one container, an engine that has a quarter of them or less has not lost them one by one.
fn trouble(engine: &str, unanswered: Option<&Error>, seen: &Seen) -> Option<Trouble> {
    let (recorded, found) = seen.of_images();
    if let Some(error) = unanswered {
        return Some(Trouble { message: error.to_string(), recorded, found: None });
    }
    let is_emptied = recorded > 1 && found * 4 <= recorded;
    let message =
        format!("{engine} has {found} of {recorded} recorded containers; `mcrun recover` brings them back");
    is_emptied.then_some(Trouble { message, recorded, found: Some(found) })
}

impl Watch {
    pub(super) async fn compare(
        &mut self,
        parts: &Parts<'_>,
        memory: &mut Memory,
        seen: &Seen,
    ) -> Result<()> {
        let engine = parts.world.engine().name();
        let Some((_, listed)) = seen.drivers.iter().find(|(driver, _)| driver.name() == engine) else {
            return Ok(());
        };
        let key = format!("engine/{engine}");
        let stood: Option<Stood> = memory.of(&key).await?;
        let mut changes = Changes::default();
        let Some(trouble) = trouble(engine, listed.as_ref().err(), seen) else {
            self.failures = 0;
            if stood.is_some_and(|stood| stood.lost) {
                changes.tell("engine.back", json!({ "driver": engine }));
            }
            changes.keep(key, &Stood { lost: false });
            return memory.settle(changes).await;
        };
        self.failures = self.failures.saturating_add(1);
        // One that was only looked for, and never there, is not missed.
        let was_there = listed.is_ok() || parts.world.is_engine_chosen();
        let is_missed = stood.as_ref().map_or(was_there, |stood| !stood.lost);
        if is_missed && self.failures >= FAILURES {
            tracing::warn!(driver = engine, reason = %trouble.message, "the container engine is lost");
            let data = json!({
                "driver": engine, "message": trouble.message, "recorded": trouble.recorded, "found": trouble.found,
            });
            changes.tell("engine.lost", data);
            changes.keep(key, &Stood { lost: true });
        }
        memory.settle(changes).await
    }
}
