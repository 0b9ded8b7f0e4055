//! Owns what is done about events. Each is looked at once, in their order; how far they are dealt with is recorded with
//! whatever one starts, so that none is lost while nobody listens, and none starts anything again after a crash.

use effect::Result;
use journal::{Event, Expect};
use serde_json::{Value, json};

use super::go::{Happening, rate};
use super::trail::Rate;
use super::{EVENTS, Engine, Verdict};
use crate::playbooks::Trigger;
use crate::triggers::matching;
use crate::triggers::occurrence::{Occurrence, Outcome};

/// How many events are looked at at once.
const CHUNK: usize = 256;
/// Events that concern nobody are looked at again after a crash, no more than these.
const MOST_UNSAVED: u64 = 1000;
/// How many records of what came too often wait to be written.
const MOST_LEFT_OUT: usize = 1000;

impl Engine {
    /// Looks at every event that has not been looked at.
    pub(super) async fn hear(&mut self) -> Result<()> {
        loop {
            let events = self.means.journal.events(self.heard, CHUNK).await?;
            for event in &events {
                self.hear_one(event).await?;
                self.heard = event.id;
                if self.left_out.len() >= MOST_LEFT_OUT {
                    self.save_heard().await?;
                }
            }
            if !self.left_out.is_empty() || self.heard.saturating_sub(self.saved) >= MOST_UNSAVED {
                self.save_heard().await?;
            }
            if events.len() < CHUNK {
                return Ok(());
            }
        }
    }

    /// Records how far events are dealt with, and those that came too often.
    pub(super) async fn save_heard(&mut self) -> Result<()> {
        let mut writes = self.left_out.clone();
        writes.push(self.record(EVENTS, Some(self.heard.to_string())));
        self.write(writes).await?;
        self.left_out.clear();
        self.saved = self.heard;
        Ok(())
    }

    /// Has an event start whatever it starts.
    async fn hear_one(&mut self, event: &Event) -> Result<()> {
        // What is no JSON has no fields.
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let mut concerned = Vec::new();
        for (name, armed) in &self.armed {
            let Trigger::Event(on) = &armed.trigger else { continue };
            let is_own = is_of(event, &data, &armed.playbook.definition.name);
            if armed.standing.after < event.id && !is_own && matching::matches(on, &event.name, &data) {
                concerned.push((name.clone(), armed.at_most()));
            }
        }
        let mut left = concerned.len();
        for (name, at_most) in concerned {
            left -= 1;
            // Until the last of its triggers has gone off, those before it are known by their records.
            let dealt_with = if left == 0 { event.id } else { event.id.saturating_sub(1) };
            self.hear_for(name, at_most, event, &data, dealt_with).await?;
        }
        Ok(())
    }

    /// Has a trigger go off for an event; with that, events up to `dealt_with` are.
    async fn hear_for(
        &mut self,
        name: String,
        at_most: Option<Rate>,
        event: &Event,
        data: &Value,
        dealt_with: u64,
    ) -> Result<()> {
        let moment = format!("{:014}", event.id);
        if self.memory.knows(&format!("{name}/{moment}")) {
            return Ok(());
        }
        let now = self.now();
        if let Some(at_most) = at_most
            && self.memory.too_often(&name, at_most, now).is_some()
        {
            self.too_often(&name, &moment, event, at_most);
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
            advance: (dealt_with > self.saved).then(|| self.record(EVENTS, Some(dealt_with.to_string()))),
            beside: self.left_out.clone(),
        };
        match self.go_off(happening).await? {
            Verdict::Recorded { .. } => {
                self.left_out.clear();
                self.saved = self.saved.max(dealt_with);
            }
            Verdict::Known => self.saved = self.saved.max(dealt_with),
            Verdict::Ignored | Verdict::TooOften(_) | Verdict::Gone => {}
        }
        Ok(())
    }

    /// Has the records of an event that comes too often written with those of others: there may be many.
    fn too_often(&mut self, name: &str, moment: &str, event: &Event, at_most: Rate) {
        let Some(armed) = self.armed.get(name) else { return };
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
        let room = self.make_room(name);
        self.left_out.extend(room);
        // It says the same as one that is there already.
        self.left_out.push(occurrence.write(&self.means.node, &record, Expect::Any));
        self.memory.remember(&record, Outcome::Skipped, self.now());
    }
}

/// Whether an event tells that a run of this playbook has failed: a playbook that is started by failures must not be by its
/// own.
fn is_of(event: &Event, data: &Value, playbook: &str) -> bool {
    event.name == "run.failed" && data.get("playbook").and_then(Value::as_str) == Some(playbook)
}
