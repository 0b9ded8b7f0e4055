//! Owns what is done about times that have come, about those that were missed, and about a boot of the machine.

use std::cmp::Reverse;
use std::time::Duration;

use effect::{Result, Timestamp};
use journal::{Expect, Write};
use serde_json::{Value, json};

use super::armed::standing_value;
use super::go::Happening;
use super::trail::moment;
use super::{BOOT, Engine, Standing};
use crate::metrics::Metrics;
use crate::playbooks::{CatchUp, Overlap, Trigger};
use crate::triggers::identity;
use crate::triggers::occurrence::{Occurrence, Outcome};

/// A time that is met this late is not missed: the machine was busy.
const GRACE: Duration = Duration::from_secs(60);
/// How many missed times are made up for at most.
const MOST_CAUGHT_UP: usize = 1000;

impl Engine {
    /// Goes through everything whose time has come.
    pub(super) async fn go_through_times(&mut self) -> Result<()> {
        loop {
            let now = self.now();
            let Some(Reverse((at, name))) = self.agenda.peek().cloned() else { return Ok(()) };
            if at > now {
                return Ok(());
            }
            let is_its = self.armed.get(&name).is_some_and(|armed| armed.next == Some(at));
            if is_its {
                self.go_through(&name, now).await?;
            }
            self.agenda.pop();
            if is_its && let Some(next) = self.armed.get_mut(&name).and_then(|armed| armed.wind()) {
                self.agenda.push(Reverse((next, name)));
            }
        }
    }

    /// Deals with the times of one trigger that have passed.
    async fn go_through(&mut self, name: &str, now: Timestamp) -> Result<()> {
        let Some(armed) = self.armed.get(name) else { return Ok(()) };
        let Some(times) = &armed.times else { return Ok(()) };
        let definition = &armed.playbook.definition;
        let catch_up = definition.catch_up;
        let all_count = catch_up == CatchUp::All && definition.overlap == Overlap::Queue;
        let keep = if catch_up == CatchUp::All { MOST_CAUGHT_UP } else { 2 };
        let mut passed = times.passed(armed.standing.until, now, keep);
        let Some(last) = passed.last.back().copied() else { return Ok(()) };
        let is_late = now.since(times.goes_off(last)) > GRACE;
        let others = passed.before + passed.last.len() as u64 - 1;
        match catch_up {
            _ if others == 0 && !is_late => self.time(name, last, 0, all_count).await,
            CatchUp::Once => self.time(name, last, others, false).await,
            CatchUp::Skip if is_late => self.missed(name, last, others, last, passed.is_more).await,
            CatchUp::Skip => {
                let before = passed.last.front().copied().unwrap_or(last);
                self.missed(name, before, others - 1, before, passed.is_more).await?;
                self.time(name, last, 0, false).await
            }
            CatchUp::All => {
                if passed.before > 0 {
                    let first = passed.last.front().copied().unwrap_or(last);
                    let before = Timestamp(first.0 - 1);
                    self.missed(name, before, passed.before - 1, before, passed.is_more).await?;
                }
                while let Some(time) = passed.last.pop_front() {
                    self.time(name, time, 0, true).await?;
                }
                Ok(())
            }
        }
    }

    /// A time goes off.
    async fn time(&mut self, name: &str, time: Timestamp, missed: u64, waits: bool) -> Result<()> {
        let Some(armed) = self.armed.get(name) else { return Ok(()) };
        let mut event = json!({
            "kind": identity::kind(&armed.trigger),
            "at": time.to_string(),
            "trigger": armed.text,
        });
        if missed > 0 {
            event["missed"] = missed.into();
        }
        let advance = self.advance(name, time);
        let happening = Happening {
            trigger: name.to_owned(),
            moment: moment(time.0),
            at: time,
            event,
            missed,
            waits,
            advance,
            beside: Vec::new(),
        };
        self.go_off(happening).await?;
        self.advanced(name, time);
        Ok(())
    }

    /// Records times that were missed, by one record for all of them.
    async fn missed(
        &mut self,
        name: &str,
        at: Timestamp,
        others: u64,
        until: Timestamp,
        is_more: bool,
    ) -> Result<()> {
        let Some(armed) = self.armed.get(name) else { return Ok(()) };
        let playbook = armed.playbook.definition.name.clone();
        let reason = match (others, is_more) {
            (0, _) => "nobody could start it in time".to_owned(),
            (_, false) => format!("nobody could start it in time, nor {others} times before it"),
            (_, true) => format!("nobody could start it in time, nor {others} or more times before it"),
        };
        let occurrence = Occurrence {
            playbook,
            trigger: armed.text.clone(),
            at,
            outcome: Outcome::Missed,
            reason: Some(reason),
            missed: others,
            event: Value::Null,
            run: None,
            since: at,
        };
        let record = format!("{name}/{}", moment(at.0));
        let mut writes: Vec<Write> = self.advance(name, until).into_iter().collect();
        if !self.memory.knows(&record) {
            // It says the same as one that is there already.
            writes.push(occurrence.write(&self.means.node, &record, Expect::Any));
        }
        writes.extend(self.make_room(name));
        self.write(writes).await?;
        Metrics::shared().occurrence(&occurrence.playbook, Outcome::Missed.as_str());
        self.memory.remember(&record, Outcome::Missed, self.now());
        self.advanced(name, until);
        Ok(())
    }

    /// The record that a trigger is accounted for up to a time.
    fn advance(&self, name: &str, until: Timestamp) -> Option<Write> {
        let standing = Standing { until, ..self.armed.get(name)?.standing };
        Some(self.record(name, Some(standing_value(standing))))
    }

    fn advanced(&mut self, name: &str, until: Timestamp) {
        if let Some(armed) = self.armed.get_mut(name) {
            armed.standing.until = until;
        }
    }

    /// Goes off once for a boot of the machine, whatever the daemon does meanwhile. What is loaded later waits for the next
    /// boot.
    pub(super) async fn boot(&mut self) -> Result<()> {
        if self.has_booted {
            return Ok(());
        }
        let boot = Value::from(self.means.boot.as_str()).to_string();
        let known = self.means.journal.record(super::KIND_OF_TRIGGERS, &self.means.node, BOOT).await?;
        if known.is_none_or(|known| known.value != boot) {
            let is_boot = |armed: &super::Armed| matches!(armed.trigger, Trigger::Boot);
            let names = self.armed.iter().filter(|(_, armed)| is_boot(armed)).map(|(name, _)| name.clone());
            for name in names.collect::<Vec<_>>() {
                let at = self.now();
                let happening = Happening {
                    trigger: name,
                    moment: self.means.boot.clone(),
                    at,
                    event: json!({ "kind": "boot", "at": at.to_string(), "boot": self.means.boot }),
                    missed: 0,
                    waits: true,
                    advance: None,
                    beside: Vec::new(),
                };
                self.go_off(happening).await?;
            }
            self.write(vec![self.record(BOOT, Some(boot))]).await?;
        }
        self.has_booted = true;
        Ok(())
    }
}
