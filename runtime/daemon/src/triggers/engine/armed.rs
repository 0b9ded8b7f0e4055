//! Owns which triggers are armed: it follows what is loaded. A trigger that is new, or means something else than before,
//! makes up for nothing that was before it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use effect::{Result, Timestamp};

use super::trail::Rate;
use super::{Engine, FAR_BACK, Standing};
use crate::playbooks::{Playbook, Table, Trigger};
use crate::triggers::files;
use crate::triggers::identity;
use crate::triggers::occurrence::write;
use crate::triggers::times::Times;

/// How many records one transaction takes.
const CHUNK: usize = 1000;
/// What a playbook is not started more often by events than this, unless it says how often: it may tell of what starts it.
const AT_MOST: Rate = (60, Duration::from_secs(60));

/// A trigger that may go off.
#[derive(Debug)]
pub(super) struct Armed {
    pub(super) playbook: Arc<Playbook>,
    pub(super) trigger: Trigger,
    pub(super) text: String,
    pub(super) times: Option<Times>,
    pub(super) standing: Standing,
    /// When it goes off next.
    pub(super) next: Option<Timestamp>,
}

impl Armed {
    /// How often it may start, where that is limited.
    pub(super) fn at_most(&self) -> Option<Rate> {
        match &self.trigger {
            Trigger::Event(event) => Some(event.at_most.unwrap_or(AT_MOST)),
            Trigger::Webhook(webhook) => webhook.at_most,
            _ => None,
        }
    }

    /// Looks for the time after the last one that is accounted for.
    pub(super) fn wind(&mut self) -> Option<Timestamp> {
        let times = self.times.as_ref();
        self.next = times.and_then(|times| Some(times.goes_off(times.next(self.standing.until)?)));
        self.next
    }
}

impl Engine {
    /// Takes over what is loaded now.
    pub(super) async fn adopt(&mut self) -> Result<()> {
        let table = self.means.table.borrow().clone();
        if self.adopted.as_ref().is_some_and(|adopted| Arc::ptr_eq(adopted, &table)) {
            return Ok(());
        }
        let after = match self.adopted {
            Some(_) => self.heard,
            // What happened while nobody listened was not for those that nobody had loaded.
            None => self.means.journal.last_event().await?,
        };
        let mut writes = Vec::new();
        let mut fresh = self.fresh(&table);
        for (name, armed) in &mut fresh {
            let known = self.armed.get(name).map(|armed| armed.standing);
            match known.or_else(|| self.standings.get(name).copied()) {
                Some(standing) => armed.standing = standing,
                None => {
                    armed.standing.after = after;
                    writes.push(self.record(name, Some(standing_value(armed.standing))));
                }
            }
            armed.wind();
        }
        let stays = |armed: &Armed| has(&table, &armed.playbook);
        let left = self.armed.iter().filter(|(_, armed)| !stays(armed)).map(|(name, _)| name);
        let gone = left.chain(self.standings.keys()).filter(|name| !fresh.contains_key(*name));
        for name in gone {
            writes.push(self.record(name, None));
            let node = &self.means.node;
            writes.push(write(files::KIND, node, name, None, journal::Expect::Any));
        }
        for writes in writes.chunks(CHUNK) {
            self.write(writes.to_vec()).await?;
        }
        self.standings.clear();
        let before = self.adopted.iter().flat_map(|before| before.playbooks.keys());
        self.memory.by_hand.extend(before.filter(|name| !table.playbooks.contains_key(*name)).cloned());
        self.armed.retain(|_, armed| stays(armed));
        self.armed.extend(fresh);
        self.adopted = Some(table);
        self.set_agenda();
        Ok(())
    }

    /// The triggers of the playbooks that were not armed as they are, each accounted for until now.
    fn fresh(&self, table: &Table) -> BTreeMap<String, Armed> {
        let mut found = BTreeMap::new();
        let standing = Standing { until: self.now(), after: 0 };
        let is_adopted =
            |one: &&Arc<Playbook>| self.adopted.as_ref().is_some_and(|adopted| has(adopted, one));
        for playbook in table.playbooks.values().filter(|playbook| !is_adopted(playbook)) {
            for trigger in &playbook.definition.on {
                let name = identity::name(&playbook.definition.name, trigger);
                let text = identity::text(trigger);
                match Times::of(trigger, &name, &self.means.zone) {
                    Ok(times) => {
                        let (playbook, trigger) = (playbook.clone(), trigger.clone());
                        found.insert(name, Armed { playbook, trigger, text, times, standing, next: None });
                    }
                    // It was checked when it was loaded; its zone may have gone since.
                    Err(error) => {
                        tracing::warn!(playbook = playbook.definition.name, trigger = text, %error, "a trigger does not go off");
                    }
                }
            }
        }
        found
    }

    fn set_agenda(&mut self) {
        let next = |(name, armed): (&String, &Armed)| Some(Reverse((armed.next?, name.clone())));
        self.agenda = self.armed.iter().filter_map(next).collect();
    }

    fn wind_all(&mut self) {
        for armed in self.armed.values_mut() {
            armed.wind();
        }
        self.set_agenda();
    }

    /// A clock that went back a little shows times again that are accounted for: they do not go off twice. One that went
    /// back far was wrong before, and nothing would go off until it is there again.
    pub(super) async fn believe_clock(&mut self) -> Result<()> {
        let now = self.now();
        let is_first = self.swept.is_none();
        if self.latest.since(now) <= FAR_BACK && !is_first {
            self.latest = self.latest.max(now);
            return Ok(());
        }
        let mut writes = Vec::new();
        for (name, armed) in &self.armed {
            if armed.standing.until.since(now) > FAR_BACK {
                let standing = Standing { until: now, ..armed.standing };
                writes.push((name.clone(), standing));
            }
        }
        for chunk in writes.chunks(CHUNK) {
            let records =
                chunk.iter().map(|(name, standing)| self.record(name, Some(standing_value(*standing))));
            self.write(records.collect()).await?;
        }
        self.latest = now;
        if writes.is_empty() {
            return Ok(());
        }
        tracing::warn!(%now, "the clock was set back by more than two days: times count from now on");
        for (name, standing) in writes {
            if let Some(armed) = self.armed.get_mut(&name) {
                armed.standing = standing;
            }
        }
        self.wind_all();
        Ok(())
    }
}

/// Whether a table has this very version of a playbook.
fn has(table: &Table, playbook: &Arc<Playbook>) -> bool {
    table.playbooks.get(&playbook.definition.name).is_some_and(|other| Arc::ptr_eq(playbook, other))
}

pub(super) fn standing_value(standing: Standing) -> String {
    serde_json::to_string(&standing).expect("a standing is plain data")
}
