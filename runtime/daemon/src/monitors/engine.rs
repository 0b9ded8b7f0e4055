//! Owns whether the container engine answers.

use effect::Result;
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
        match listed {
            Ok(_) => {
                self.failures = 0;
                if stood.is_some_and(|stood| stood.lost) {
                    changes.tell("engine.back", json!({ "driver": engine }));
                }
                changes.keep(key, &Stood { lost: false });
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                // One that was only looked for, and never there, is not missed.
                let is_missed = stood.as_ref().map_or(parts.world.is_engine_chosen(), |stood| !stood.lost);
                if is_missed && self.failures >= FAILURES {
                    tracing::warn!(driver = engine, %error, "the container engine does not answer");
                    changes.tell("engine.lost", json!({ "driver": engine, "message": error.to_string() }));
                    changes.keep(key, &Stood { lost: true });
                }
            }
        }
        memory.settle(changes).await
    }
}
