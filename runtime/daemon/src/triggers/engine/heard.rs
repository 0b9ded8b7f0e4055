//! Owns what is done about events. Each is looked at once, in their order; how far they are dealt with is recorded, so that
//! none is lost while nobody listens, and what is looked at again after a crash is known by its record.

use std::time::Duration;

use effect::Result;
use journal::{Event, Expect, Write};
use serde_json::{Value, json};

use super::go::{Happening, rate};
use super::{EVENTS, Engine};
use crate::playbooks::{OnEvent, Trigger};
use crate::triggers::matching;
use crate::triggers::occurrence::{Occurrence, Outcome};

/// How many events are looked at at once.
const CHUNK: usize = 256;
/// Events that concern nobody are looked at again after a crash, no more than these.
const MOST_UNSAVED: u64 = 1000;
/// What a playbook is not started more often by than this, unless it says how often: it may tell of what starts it.
const AT_MOST: (u32, Duration) = (60, Duration::from_secs(60));

impl Engine {
    /// Looks at every event that has not been looked at.
    pub(super) async fn hear(&mut self) -> Result<()> {
        loop {
            let events = self.means.journal.events(self.heard, CHUNK).await?;
            let mut skipped = Vec::new();
            let mut concerned = false;
            for event in &events {
                concerned |= self.hear_one(event, &mut skipped).await?;
                self.heard = event.id;
            }
            if concerned || self.heard.saturating_sub(self.saved) >= MOST_UNSAVED {
                self.save_heard(skipped).await?;
            }
            if events.len() < CHUNK {
                return Ok(());
            }
        }
    }

    pub(super) async fn save_heard(&mut self, mut writes: Vec<Write>) -> Result<()> {
        writes.push(self.record(EVENTS, Some(self.heard.to_string())));
        self.write(writes).await?;
        self.saved = self.heard;
        Ok(())
    }

    /// Has an event start whatever it starts. Whether it concerned anybody.
    async fn hear_one(&mut self, event: &Event, skipped: &mut Vec<Write>) -> Result<bool> {
        // What is no JSON has no fields.
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let mut concerned = Vec::new();
        for (name, armed) in &self.armed {
            let Trigger::Event(on) = &armed.trigger else { continue };
            let is_own = is_of(event, &data, &armed.playbook.definition.name);
            if armed.standing.after < event.id && !is_own && matching::matches(on, &event.name, &data) {
                concerned.push((name.clone(), on.clone()));
            }
        }
        let is_concerned = !concerned.is_empty();
        for (name, on) in concerned {
            self.hear_for(name, &on, event, &data, skipped).await?;
        }
        Ok(is_concerned)
    }

    async fn hear_for(
        &mut self,
        name: String,
        on: &OnEvent,
        event: &Event,
        data: &Value,
        skipped: &mut Vec<Write>,
    ) -> Result<()> {
        let moment = format!("{:014}", event.id);
        let at_most = on.at_most.unwrap_or(AT_MOST);
        let is_known = self.memory.knows(&format!("{name}/{moment}"));
        let now = self.now();
        if !is_known && self.memory.too_often(&name, at_most, now).is_some() {
            skipped.extend(self.too_often(&name, &moment, event, at_most));
            return Ok(());
        }
        let told = json!({
            "kind": "event",
            "name": event.name,
            "data": data,
            "at": event.at.to_string(),
            "id": event.id,
        });
        let happening = Happening {
            trigger: name,
            moment,
            at: event.at,
            event: told,
            missed: 0,
            waits: false,
            advance: None,
            beside: Vec::new(),
        };
        self.go_off(happening).await.map(drop)
    }

    /// The records of an event that comes too often. They are written with those of others: there may be many.
    fn too_often(&mut self, name: &str, moment: &str, event: &Event, at_most: (u32, Duration)) -> Vec<Write> {
        let Some(armed) = self.armed.get(name) else { return Vec::new() };
        let occurrence = Occurrence {
            playbook: armed.playbook.definition.name.clone(),
            trigger: armed.text.clone(),
            at: event.at,
            outcome: Outcome::Skipped,
            reason: Some(format!("it starts at most {}", rate(at_most))),
            missed: 0,
            event: Value::Null,
            run: None,
            since: event.at,
        };
        let record = format!("{name}/{moment}");
        let mut writes = self.memory.make_room(&self.means.node, name);
        // It says the same as one that is there already.
        writes.push(occurrence.write(&self.means.node, &record, Expect::Any));
        self.memory.remember(&record, Outcome::Skipped, self.now());
        writes
    }
}

/// Whether an event tells that a run of this playbook has failed: a playbook that is started by failures must not be by its
/// own.
fn is_of(event: &Event, data: &Value, playbook: &str) -> bool {
    event.name == "run.failed" && data.get("playbook").and_then(Value::as_str) == Some(playbook)
}
