//! Owns what the engine remembers of recorded occurrences: which there are, which wait, how often a trigger has gone off.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use effect::{Result, Timestamp};
use journal::{Expect, Journal, RunId, Write};

use crate::triggers::occurrence::{self, KEPT, KEPT_MILLIS, Occurrence, Outcome, write};

/// More starts than these are not counted.
const MOST_STARTS: usize = 10_000;
/// How many records one transaction takes away.
const CHUNK: usize = 500;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The names of each trigger's occurrences, the newest last.
    recent: HashMap<String, VecDeque<String>>,
    known: HashSet<String>,
    /// When each trigger has gone off.
    starts: HashMap<String, VecDeque<Timestamp>>,
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

/// The trigger of an occurrence.
pub(super) fn trigger_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(trigger, _)| trigger)
}

impl Memory {
    /// Reads what is recorded, and takes out what is too old.
    pub(super) async fn load(journal: &Journal, node: &str) -> Result<Self> {
        let mut memory = Self::default();
        let oldest = Timestamp(journal.clock().now().0.saturating_sub(KEPT_MILLIS));
        let mut found = Vec::new();
        let mut gone = Vec::new();
        for record in journal.records(occurrence::KIND, Some(node)).await? {
            match Occurrence::read(&record) {
                Ok(occurrence) if occurrence.since < oldest && occurrence.outcome != Outcome::Queued => {
                    gone.push(record.name);
                }
                Ok(occurrence) => found.push((record.name, record.value, occurrence)),
                Err(error) => {
                    tracing::warn!(%error, "an occurrence is left out");
                    gone.push(record.name);
                }
            }
        }
        found.sort_by(|(one, _, first), (other, _, second)| (first.since, one).cmp(&(second.since, other)));
        for (name, value, occurrence) in found {
            if occurrence.outcome == Outcome::Queued {
                let queue = memory.queues.entry(occurrence.playbook.clone()).or_default();
                queue.push_back(Queued { name: name.clone(), occurrence: occurrence.clone(), value });
            }
            memory.remember(&name, occurrence.outcome, occurrence.since);
        }
        // More than are kept: starts by hand are not counted when they are recorded.
        for names in memory.recent.values_mut() {
            while names.len() > KEPT {
                gone.extend(names.pop_front());
            }
        }
        let is_queued = |name: &String| memory.queues.values().flatten().any(|queued| queued.name == *name);
        gone.retain(|name| !is_queued(name));
        for names in gone.chunks(CHUNK) {
            let take_out = |name: &String| write(occurrence::KIND, node, name, None, Expect::Any);
            journal.write(names.iter().map(take_out).collect()).await?;
        }
        for name in &gone {
            memory.known.remove(name);
        }
        Ok(memory)
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// Takes in that an occurrence is recorded.
    pub(super) fn remember(&mut self, name: &str, outcome: Outcome, at: Timestamp) {
        self.failed.remove(name);
        let trigger = trigger_of(name);
        if self.known.insert(name.to_owned()) {
            self.recent.entry(trigger.to_owned()).or_default().push_back(name.to_owned());
            if matches!(outcome, Outcome::Started | Outcome::Queued) {
                let starts = self.starts.entry(trigger.to_owned()).or_default();
                starts.push_back(at);
                if starts.len() > MOST_STARTS {
                    starts.pop_front();
                }
            }
        }
    }

    /// Takes out the occurrences of a trigger that are too many once one more is recorded.
    pub(super) fn make_room(&mut self, node: &str, trigger: &str) -> Vec<Write> {
        let Some(names) = self.recent.get_mut(trigger) else { return Vec::new() };
        let waits: HashSet<&str> =
            self.queues.values().flatten().map(|queued| queued.name.as_str()).collect();
        let mut writes = Vec::new();
        // Once around at most: what waits is kept.
        for _ in 0..names.len() {
            if names.len() < KEPT + waits.len() {
                break;
            }
            let Some(name) = names.pop_front() else { break };
            if waits.contains(name.as_str()) {
                names.push_back(name);
                continue;
            }
            writes.push(write(occurrence::KIND, node, &name, None, Expect::Any));
            self.known.remove(&name);
        }
        writes
    }

    /// How long a trigger must wait that has gone off `most` times within `window`.
    pub(super) fn too_often(
        &mut self,
        trigger: &str,
        (most, window): (u32, Duration),
        now: Timestamp,
    ) -> Option<Duration> {
        let starts = self.starts.get_mut(trigger)?;
        // A clock that was set back: what is to come does not count.
        starts.retain(|at| now.since(*at) < window && *at <= now);
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(MOST_STARTS);
        if starts.len() < most {
            return None;
        }
        let first = starts.get(starts.len() - most.max(1)).copied().unwrap_or(now);
        Some(window.saturating_sub(now.since(first)).max(Duration::from_secs(1)))
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
