//! Owns what becomes of something that happened: it starts its playbook, waits, or is left out. Whatever it is, it is
//! recorded, in one transaction with what says that it is dealt with.

use effect::{Code, Error, Result, Timestamp};
use journal::{Expect, Write};
use serde_json::Value;

use super::memory::Queued;
use super::trail::Rate;
use super::{Engine, Verdict};
use crate::metrics::Metrics;
use crate::playbooks::{Overlap, params};
use crate::runs::{By, Cause, Order};
use crate::triggers::identity;
use crate::triggers::occurrence::{KIND, Occurrence, Outcome};

/// How many occurrences of a playbook wait.
const MOST_WAITING: usize = 100;
/// How many do where each counts.
const MOST_WAITING_OF_ALL: usize = 2000;
/// How often it is tried to start an occurrence where the reason may pass.
const MOST_TRIES: u32 = 8;

/// Something that happened.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) trigger: String,
    /// What tells it from all others of the trigger.
    pub(super) moment: String,
    pub(super) at: Timestamp,
    /// What the playbook is told.
    pub(super) event: Value,
    /// How many missed times before it it stands for.
    pub(super) missed: u64,
    /// Whether it waits where a playbook would leave it out.
    pub(super) waits: bool,
    /// What says that it is dealt with; true even where somebody else did.
    pub(super) advance: Option<Write>,
    /// What else is recorded with it.
    pub(super) beside: Vec<Write>,
}

/// What is about to be recorded.
struct Entry {
    name: String,
    occurrence: Occurrence,
    expect: Expect,
    writes: Vec<Write>,
    advance: Option<Write>,
}

impl Engine {
    /// Deals with something that happened.
    pub(super) async fn go_off(&mut self, happening: Happening) -> Result<Verdict> {
        let Happening { trigger, moment, at, event, missed, waits, advance, beside } = happening;
        let Some(armed) = self.armed.get(&trigger) else { return Ok(Verdict::Gone) };
        let definition = &armed.playbook.definition;
        let (playbook, overlap, text) = (definition.name.clone(), definition.overlap, armed.text.clone());
        let name = format!("{trigger}/{moment}");
        if self.memory.knows(&name) {
            self.write(advance.into_iter().collect()).await?;
            return Ok(Verdict::Known);
        }
        let mut writes = beside;
        writes.extend(self.make_room(&trigger));
        let occurrence = Occurrence {
            playbook: playbook.clone(),
            trigger: text,
            at,
            outcome: Outcome::Started,
            reason: None,
            missed,
            event,
            run: None,
            since: at,
        };
        let mut entry = Entry { name, occurrence, expect: Expect::Absent, writes, advance };
        let unfinished = self.means.journal.unfinished_of(&playbook).await?;
        let waiting = self.memory.waiting(&playbook);
        if unfinished.is_empty() && waiting == 0 {
            return self.start(entry).await;
        }
        let before = match unfinished.first() {
            Some(run) => format!("run {run} is not over"),
            None => "others wait before it".to_owned(),
        };
        match overlap {
            Overlap::Replace => {
                self.supersede(&playbook, &mut entry);
                self.settle(entry, Outcome::Queued, before).await
            }
            Overlap::Skip if !waits => self.settle(entry, Outcome::Skipped, before).await,
            Overlap::Queue | Overlap::Skip => {
                let most = if waits { MOST_WAITING_OF_ALL } else { MOST_WAITING };
                if waiting < most {
                    return self.settle(entry, Outcome::Queued, before).await;
                }
                let why = format!("{waiting} others wait already");
                self.settle(entry, Outcome::Skipped, why).await
            }
        }
    }

    /// What waits for a playbook makes way for a later one.
    fn supersede(&mut self, playbook: &str, entry: &mut Entry) {
        for queued in self.memory.queues.get(playbook).into_iter().flatten() {
            let occurrence = Occurrence {
                outcome: Outcome::Skipped,
                reason: Some("a later one took its place".to_owned()),
                event: Value::Null,
                ..queued.occurrence.clone()
            };
            let expect = Expect::Value(queued.value.clone().into());
            entry.writes.push(occurrence.write(&self.means.node, &queued.name, expect));
        }
    }

    /// Starts what waits.
    pub(super) async fn start_queued(&mut self, queued: Queued) -> Result<Verdict> {
        let Queued { name, occurrence, value } = queued;
        let expect = Expect::Value(value.into());
        self.start(Entry { name, occurrence, expect, writes: Vec::new(), advance: None }).await
    }

    /// Records that what waits is left out after all.
    pub(super) async fn leave_out(&mut self, queued: Queued, why: &str) -> Result<()> {
        let Queued { name, occurrence, value } = queued;
        let expect = Expect::Value(value.into());
        let entry = Entry { name, occurrence, expect, writes: Vec::new(), advance: None };
        self.settle(entry, Outcome::Skipped, why.to_owned()).await.map(drop)
    }

    async fn start(&mut self, entry: Entry) -> Result<Verdict> {
        let playbook = entry.occurrence.playbook.clone();
        let table = self.means.table.borrow().clone();
        let Some(playbook) = table.playbooks.get(&playbook).cloned() else {
            return self.settle(entry, Outcome::Skipped, format!("the playbook `{playbook}` is gone")).await;
        };
        let params = match params::check(&playbook.definition.params, &Value::Null) {
            Ok(params) => params,
            Err(error) => return self.settle(entry, Outcome::Skipped, error.to_string()).await,
        };
        let event = entry.occurrence.event.clone();
        let recorded = Occurrence {
            outcome: Outcome::Started,
            reason: None,
            event: Value::Null,
            ..entry.occurrence.clone()
        };
        let mut writes = entry.writes.clone();
        writes.extend(entry.advance.clone());
        writes.push(recorded.write(&self.means.node, &entry.name, entry.expect.clone()));
        let by = By::Trigger { trigger: recorded.trigger.clone(), occurrence: entry.name.clone() };
        let order = Order { playbook, params, cause: Cause { by, event, within: None }, writes };
        match self.means.runs.start(order).await {
            Ok(run) => {
                tracing::info!(playbook = recorded.playbook, trigger = recorded.trigger, %run, "a playbook started");
                self.recorded(&entry, Outcome::Started);
                let (occurrence, outcome) = (entry.name, Outcome::Started);
                Ok(Verdict::Recorded { occurrence, outcome, run: Some(run), reason: None })
            }
            // Whatever it says: what counts is what is recorded.
            Err(_) if self.is_taken(&entry).await? => self.taken(entry).await,
            Err(error) if self.may_pass(&entry.name, &error) => Err(error),
            Err(error) => {
                tracing::warn!(playbook = recorded.playbook, trigger = recorded.trigger, %error, "a playbook cannot be started");
                let why = format!("{}: {}", error.code, error.message);
                self.settle(entry, Outcome::Skipped, why).await
            }
        }
    }

    /// Whether what is recorded is not what an entry expects.
    async fn is_taken(&self, entry: &Entry) -> Result<bool> {
        let found = self.means.journal.record(KIND, &self.means.node, &entry.name).await?;
        Ok(match &entry.expect {
            Expect::Value(expected) => found.is_none_or(|found| *found.value != **expected),
            _ => found.is_some(),
        })
    }

    /// It was dealt with, by somebody else or by what seemed to have failed.
    async fn taken(&mut self, entry: Entry) -> Result<Verdict> {
        self.write(entry.advance.into_iter().collect()).await?;
        self.memory.remember(&entry.name, Outcome::Skipped, self.now());
        self.memory.unqueue(&entry.occurrence.playbook, &entry.name);
        Ok(Verdict::Known)
    }

    /// Records what becomes of it without a run.
    async fn settle(&mut self, entry: Entry, outcome: Outcome, why: String) -> Result<Verdict> {
        let is_queued = outcome == Outcome::Queued;
        let event = if is_queued { entry.occurrence.event.clone() } else { Value::Null };
        let occurrence = Occurrence { outcome, reason: Some(why.clone()), event, ..entry.occurrence.clone() };
        let mut writes = entry.writes.clone();
        writes.extend(entry.advance.clone());
        let record = occurrence.write(&self.means.node, &entry.name, entry.expect.clone());
        let value = record.value.clone().unwrap_or_default();
        writes.push(record);
        match self.means.journal.write(writes).await {
            Ok(()) => {}
            Err(journal::Error::Conflict { .. }) => return self.taken(entry).await,
            Err(error) => return Err(error.into()),
        }
        self.recorded(&entry, outcome);
        let playbook = occurrence.playbook.clone();
        tracing::info!(playbook, trigger = occurrence.trigger, why, "{}", outcome.as_str());
        let name = entry.name;
        if is_queued {
            let queue = self.memory.queues.entry(playbook).or_default();
            queue.push_back(Queued { name: name.clone(), occurrence, value });
        }
        Ok(Verdict::Recorded { occurrence: name, outcome, run: None, reason: Some(why) })
    }

    /// Takes in that an entry, with what it replaces, is recorded.
    fn recorded(&mut self, entry: &Entry, outcome: Outcome) {
        let now = self.now();
        let playbook = &entry.occurrence.playbook;
        Metrics::shared().occurrence(playbook, outcome.as_str());
        let replaced = entry.writes.iter().filter(|write| matches!(write.expect, Expect::Value(_)));
        for name in replaced.map(|write| write.name.clone()).chain([entry.name.clone()]) {
            self.memory.unqueue(playbook, &name);
        }
        self.memory.remember(&entry.name, outcome, now);
    }

    /// Whether what prevents a start may be over soon; not for ever, where it is not known what it is.
    fn may_pass(&mut self, name: &str, error: &Error) -> bool {
        use Code::{DaemonBusy, DaemonStops, DiskFull, JournalBroken, StateUnusable};
        if matches!(error.code, DaemonBusy | DaemonStops | DiskFull | JournalBroken | StateUnusable) {
            return true;
        }
        let may = error.retryable || matches!(error.code, Code::Locked | Code::Internal);
        let tries = self.memory.failed.entry(name.to_owned()).or_default();
        *tries += 1;
        may && *tries < MOST_TRIES
    }

    /// What takes out the occurrences of a trigger that are too many once one more is recorded.
    pub(super) fn make_room(&mut self, trigger: &str) -> Vec<Write> {
        let rate = self.armed.get(trigger).and_then(super::Armed::at_most);
        let now = self.now();
        self.memory.make_room(&self.means.node, trigger, rate, now)
    }
}

/// `3/10m`.
pub(super) fn rate((most, window): Rate) -> String {
    format!("{most}/{}", identity::span(window))
}
