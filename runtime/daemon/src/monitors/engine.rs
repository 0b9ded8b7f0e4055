//! Owns whether the container engine answers, and still has what was deployed on it. Those are two things: one that is slow,
//! starts anew or talks nonsense has lost nothing as far as anybody knows, and nothing is to be brought back because of it.

use effect::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Parts;
use super::containers::Seen;
use super::memory::{Changes, Memory};

/// One question that is not answered, or answered oddly, may be chance.
const FAILURES: u32 = 2;

/// How often in a row it did not answer, and had lost what is recorded.
#[derive(Debug, Default)]
pub(super) struct Watch {
    unanswered: u32,
    emptied: u32,
}

/// What was told of it last.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Stood {
    lost: bool,
    silent: bool,
}

/// An engine that answers and has lost what is recorded.
#[derive(Debug, Clone, Serialize)]
pub struct Lost {
    /// The engine.
    pub driver: String,
    /// What is the matter, and what to do, in words.
    pub message: String,
    /// How many containers of images are recorded that no run changes now.
    pub recorded: usize,
    /// How many of them it has.
    pub found: usize,
}

impl Lost {
    /// Beyond one container, an engine that has a quarter of them or less has not lost them one by one.
    pub(super) fn judge(driver: &str, seen: &Seen) -> Option<Self> {
        let (recorded, found) = seen.of_images();
        let is_emptied = recorded > 1 && found * 4 <= recorded;
        let message = format!(
            "{driver} has lost what it knew: it has {found} of {recorded} recorded containers; `mcrun recover --plan` shows \
             what brings them back"
        );
        is_emptied.then(|| Self { driver: driver.to_owned(), message, recorded, found })
    }
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
        match (listed, Lost::judge(engine, seen)) {
            (Err(error), _) => {
                self.emptied = 0;
                self.unanswered = self.unanswered.saturating_add(1);
                // One that was only looked for, and never there, is not missed.
                let is_missed = stood.is_some() || parts.world.is_engine_chosen();
                let stood = stood.unwrap_or_default();
                if is_missed && !stood.silent && self.unanswered >= FAILURES {
                    tracing::warn!(driver = engine, %error, "the container engine does not answer");
                    let data = json!({ "driver": engine, "code": error.code.as_str(), "message": error.to_string() });
                    changes.tell("engine.silent", data);
                    changes.keep(key, &Stood { silent: true, ..stood });
                }
            }
            (Ok(_), Some(lost)) => {
                self.unanswered = 0;
                self.emptied = self.emptied.saturating_add(1);
                let was_lost = stood.is_some_and(|stood| stood.lost);
                if !was_lost && self.emptied >= FAILURES {
                    tracing::warn!(driver = engine, reason = %lost.message, "the container engine is lost");
                    changes.tell("engine.lost", json!(lost));
                    changes.keep(key, &Stood { lost: true, silent: false });
                }
            }
            (Ok(_), None) => {
                (self.unanswered, self.emptied) = (0, 0);
                if stood.is_some_and(|stood| stood.lost || stood.silent) {
                    changes.tell("engine.back", json!({ "driver": engine }));
                }
                changes.keep(key, &Stood::default());
            }
        }
        memory.settle(changes).await
    }
}
