//! Owns what the engine remembers of recorded occurrences: which there are, which wait, how often a trigger has gone off.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use effect::{Result, Timestamp};
use journal::{Expect, Journal, RunId, Write};

use super::trail::{Rate, Trail};
use crate::triggers::occurrence::{self, KIND, Occurrence, Outcome, write};

/// How many records one transaction takes away.
pub(super) const CHUNK: usize = 500;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What is recorded of each trigger, but not what was started by hand.
    trails: HashMap<String, Trail>,
    /// Playbooks that were started by hand, and may be loaded no more.
    pub(super) by_hand: BTreeSet<String>,
    /// What waits, by playbook; the first first.
    pub(super) queues: BTreeMap<String, VecDeque<Queued>>,
    /// Runs that have been asked to make way.
    pub(super) cancelled: HashSet<RunId>,
    /// How often it failed to start an occurrence.
    pub(super) failed: HashMap<String, u32>,
}

/// An occurrence that waits.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) name: String,
    pub(super) occurrence: Occurrence,
    /// As it is recorded.
    pub(super) value: String,
}

/// The trigger of an occurrence, and what tells it from the others of this trigger.
pub(super) fn parts(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or((name, ""))
}

impl Memory {
    /// Reads what is recorded.
    pub(super) async fn load(journal: &Journal, node: &str) -> Result<Self> {
        let mut memory = Self::default();
        let mut found = Vec::new();
        let mut queued = Vec::new();
        let mut gone = Vec::new();
        for record in journal.records(KIND, Some(node)).await? {
            match Occurrence::read(&record) {
                Ok(occurrence) if occurrence::is_by_hand(&record.name) => {
                    memory.by_hand.insert(occurrence.playbook);
                }
                Ok(occurrence) => {
                    found.push((occurrence.since, record.name.clone(), occurrence.outcome));
                    if occurrence.outcome == Outcome::Queued {
                        queued.push(Queued { name: record.name, occurrence, value: record.value });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "an occurrence is left out");
                    gone.push(record.name);
                }
            }
        }
        found.sort_by(|(first, one, _), (second, other, _)| (first, one).cmp(&(second, other)));
        for (since, name, outcome) in found {
            memory.remember(&name, outcome, since);
        }
        queued.sort_by(|one, other| {
            (one.occurrence.since, &one.name).cmp(&(other.occurrence.since, &other.name))
        });
        for one in queued {
            memory.queues.entry(one.occurrence.playbook.clone()).or_default().push_back(one);
        }
        for names in gone.chunks(CHUNK) {
            journal.write(names.iter().map(|name| take_out(node, name)).collect()).await?;
        }
        Ok(memory)
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        let (trigger, moment) = parts(name);
        self.trails.get(trigger).is_some_and(|trail| trail.knows(moment))
    }

    /// Takes in that an occurrence is recorded.
    pub(super) fn remember(&mut self, name: &str, outcome: Outcome, at: Timestamp) {
        self.failed.remove(name);
        if self.knows(name) {
            return;
        }
        let (trigger, moment) = parts(name);
        let is_start = matches!(outcome, Outcome::Started | Outcome::Queued);
        let trail = self.trails.entry(trigger.to_owned()).or_insert_with(|| Trail::of(trigger));
        trail.add(moment, at, is_start);
    }

    /// Takes out the occurrences of a trigger that are too many once one more is recorded.
    pub(super) fn make_room(
        &mut self,
        node: &str,
        trigger: &str,
        rate: Option<Rate>,
        now: Timestamp,
    ) -> Vec<Write> {
        let Some(trail) = self.trails.get_mut(trigger) else { return Vec::new() };
        let gone = trail.surplus(rate, now, &waiting_of(&self.queues, trigger));
        if !gone.is_empty() {
            trail.forget(&gone);
        }
        gone.iter().map(|moment| take_out(node, &format!("{trigger}/{moment}"))).collect()
    }

    /// The names of those that were recorded before a time and wait for nothing.
    pub(super) fn before(&self, oldest: Timestamp) -> Vec<String> {
        let of_one = |(trigger, trail): (&String, &Trail)| {
            let found = trail.before(oldest, &waiting_of(&self.queues, trigger));
            found.into_iter().map(|moment| format!("{trigger}/{moment}")).collect::<Vec<_>>()
        };
        self.trails.iter().flat_map(of_one).collect()
    }

    /// Takes in that some are recorded no more.
    pub(super) fn forget(&mut self, names: &[String]) {
        let mut gone: HashMap<&str, Vec<String>> = HashMap::new();
        for (trigger, moment) in names.iter().map(|name| parts(name)) {
            gone.entry(trigger).or_default().push(moment.to_owned());
        }
        for (trigger, moments) in gone {
            let is_left = self.trails.get_mut(trigger).is_some_and(|trail| trail.forget(&moments));
            if !is_left {
                self.trails.remove(trigger);
            }
        }
    }

    /// How long a trigger must wait that has gone off as often as it may.
    pub(super) fn too_often(&self, trigger: &str, rate: Rate, now: Timestamp) -> Option<Duration> {
        let first = self.trails.get(trigger)?.full_since(rate, now)?;
        Some(rate.1.saturating_sub(now.since(first)).max(Duration::from_secs(1)))
    }

    pub(super) fn waiting(&self, playbook: &str) -> usize {
        self.queues.get(playbook).map_or(0, VecDeque::len)
    }

    /// Forgets an occurrence that waits no longer.
    pub(super) fn unqueue(&mut self, playbook: &str, name: &str) {
        if let Some(queue) = self.queues.get_mut(playbook) {
            queue.retain(|queued| queued.name != name);
            if queue.is_empty() {
                self.queues.remove(playbook);
            }
        }
    }
}

/// The record of an occurrence taken out.
pub(super) fn take_out(node: &str, name: &str) -> Write {
    write(KIND, node, name, None, Expect::Any)
}

/// Which occurrences of a trigger wait.
fn waiting_of<'a>(queues: &'a BTreeMap<String, VecDeque<Queued>>, trigger: &str) -> HashSet<&'a str> {
    let queue = trigger.split_once('/').and_then(|(playbook, _)| queues.get(playbook));
    let parts = queue.into_iter().flatten().map(|queued| parts(&queued.name));
    parts.filter(|(of, _)| *of == trigger).map(|(_, moment)| moment).collect()
}
