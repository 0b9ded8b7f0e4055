//! Owns the engine: it turns times, events and calls into occurrences, and occurrences into runs.
//!
//! All that it knows is recorded; it may be dropped at any await and loaded again. One pass does whatever is due, and a
//! pass that fails (a full disk) is done again later: nothing is marked as done before it is.

mod armed;
mod called;
mod due;
mod go;
mod heard;
mod memory;
mod trail;
mod waiting;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use effect::{Code, Result, Timestamp};
use jiff::tz::TimeZone;
use journal::{Journal, RunId, Write};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::occurrence::{KIND_OF_TRIGGERS, Outcome, write};
use super::wake::{Written, ended};
use super::webhook::deliveries::Mark;
use crate::playbooks::Table;
use crate::runs::Runs;

use self::armed::Armed;
use self::memory::Memory;

/// Between looks where nothing wakes us: clocks are set, and what the kernel tells may be lost.
const FAR: Duration = Duration::from_secs(1);
/// Between the first looks after somebody has written: the write is there a moment before it counts.
const NEAR: Duration = Duration::from_millis(4);
/// After a pass that failed.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A clock that is set back further than this is believed: what it showed before was wrong.
const FAR_BACK: Duration = Duration::from_secs(2 * 86_400);
/// Calls that wait to be recorded.
const MOST_CALLS: usize = 64;

/// What the engine works with.
#[derive(Debug, Clone)]
pub struct Means {
    /// Where everything is recorded.
    pub journal: Journal,
    /// This machine.
    pub node: String,
    /// Whoever executes runs.
    pub runs: Arc<dyn Runs>,
    /// What is loaded. It must have been read once: a playbook that is not in it is forgotten.
    pub table: watch::Receiver<Arc<Table>>,
    /// The machine's time zone.
    pub zone: TimeZone,
    /// What tells one boot of the machine from another.
    pub boot: String,
}

/// What somebody else has seen happen: files that changed, a webhook that was called.
#[derive(Debug)]
pub(super) struct Told {
    /// The trigger, by its name in records.
    pub(super) trigger: String,
    /// What tells this from all others of the trigger.
    pub(super) moment: String,
    /// When.
    pub(super) at: Timestamp,
    /// What the playbook is told.
    pub(super) event: Value,
    /// What is recorded together with it.
    pub(super) beside: Vec<Write>,
    /// What tells a call from others, for as long as it is remembered.
    pub(super) marks: Vec<Mark>,
    /// Whether it starts nothing, and is only remembered.
    pub(super) is_ignored: bool,
}

/// The same, where somebody waits for what becomes of it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) told: Told,
    pub(super) answer: oneshot::Sender<Result<Verdict>>,
}

/// What became of something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// It is recorded.
    Recorded { occurrence: String, outcome: Outcome, run: Option<RunId>, reason: Option<String> },
    /// It was recorded before.
    Known,
    /// It starts nothing, and is remembered.
    Ignored,
    /// It comes too often; again after this time.
    TooOften(Duration),
    /// No playbook has this trigger any more.
    Gone,
}

/// Where others tell the engine what happened.
#[derive(Debug, Clone)]
pub struct Inbox(mpsc::Sender<Call>);

impl Inbox {
    pub(super) async fn tell(&self, call: Call) -> bool {
        self.0.send(call).await.is_ok()
    }

    pub(super) fn try_tell(&self, call: Call) -> bool {
        self.0.try_send(call).is_ok()
    }
}

/// How far a trigger is accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    /// Times up to this.
    until: Timestamp,
    /// Events up to this do not concern it: they were before it.
    after: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    means: Means,
    inbox: (mpsc::Sender<Call>, Option<mpsc::Receiver<Call>>),
    adopted: Option<Arc<Table>>,
    /// By their names in records.
    armed: BTreeMap<String, Armed>,
    /// What was recorded of triggers that are not armed yet.
    standings: HashMap<String, Standing>,
    /// The next time of each trigger. One that is not the trigger's any more does not count.
    agenda: BinaryHeap<Reverse<(Timestamp, String)>>,
    memory: Memory,
    /// Events up to this are dealt with; and as far as that is recorded.
    heard: u64,
    saved: u64,
    /// Records of events that came too often: they are written with the next ones that start something.
    left_out: Vec<Write>,
    has_booted: bool,
    /// The latest that the clock has shown.
    latest: Timestamp,
    /// When what has expired was last taken out.
    swept: Option<Timestamp>,
}

impl Engine {
    /// An engine that knows what is recorded.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn load(means: Means) -> Result<Self> {
        let (sender, receiver) = mpsc::channel(MOST_CALLS);
        let mut engine = Self {
            memory: Memory::load(&means.journal, &means.node).await?,
            latest: means.journal.clock().now(),
            means,
            inbox: (sender, Some(receiver)),
            adopted: None,
            armed: BTreeMap::new(),
            standings: HashMap::new(),
            agenda: BinaryHeap::new(),
            heard: 0,
            saved: 0,
            left_out: Vec::new(),
            has_booted: false,
            swept: None,
        };
        engine.recall().await?;
        Ok(engine)
    }

    /// Where others tell what happened.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        Inbox(self.inbox.0.clone())
    }

    /// Reads how far everything is accounted for.
    async fn recall(&mut self) -> Result<()> {
        let last = self.means.journal.last_event().await?;
        let mut heard = None;
        for record in self.means.journal.records(KIND_OF_TRIGGERS, Some(&self.means.node)).await? {
            // What cannot be decoded counts as new: it makes up for nothing.
            if record.name == EVENTS {
                heard = serde_json::from_str::<u64>(&record.value).ok();
            } else if let Ok(standing) = serde_json::from_str(&record.value) {
                self.standings.insert(record.name, standing);
            }
        }
        self.heard = heard.unwrap_or(last).min(last);
        self.saved = self.heard;
        if heard.is_none() {
            self.save_heard().await?;
        }
        Ok(())
    }

    /// Does whatever is due. Says when the next time is.
    ///
    /// # Errors
    /// Where something could not be recorded or started that may be later; what was done stays done.
    pub async fn pass(&mut self) -> Result<Option<Timestamp>> {
        self.adopt().await?;
        self.believe_clock().await?;
        self.boot().await?;
        self.go_through_times().await?;
        self.hear().await?;
        self.drain().await?;
        self.sweep().await?;
        Ok(self.agenda.peek().map(|Reverse((at, _))| *at))
    }

    /// Works until `shutdown` becomes true, or its sender is gone; then at once, as what is not recorded by then is dealt
    /// with after the next start.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            () = ended(&mut shutdown) => {}
            () = self.work() => {}
        }
    }

    async fn work(mut self) {
        let mut table = self.means.table.clone();
        let written = Written::watch(self.means.journal.folder());
        let mut calls = self.inbox.1.take().expect("an engine runs once");
        let (mut pause, mut near) = (PAUSE, NEAR);
        loop {
            let looked = Instant::now();
            let wait = match self.pass().await {
                Ok(next) => {
                    pause = PAUSE;
                    let now = self.means.journal.clock().now();
                    next.map_or(FAR, |next| next.since(now)).min(FAR).min(near)
                }
                Err(error) => {
                    // A daemon that ends leaves what is due to the next one.
                    if error.code != Code::DaemonStops {
                        tracing::warn!(%error, "triggers cannot go off; it is tried again in {pause:?}");
                    }
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    wait
                }
            };
            near = near.saturating_mul(2).min(FAR);
            tokio::select! {
                biased;
                call = calls.recv() => match call {
                    Some(call) => self.answer(call).await,
                    None => return,
                },
                Ok(()) = table.changed() => {}
                () = written.wait(looked + NEAR) => near = NEAR,
                () = sleep_until(looked + wait) => {}
            }
        }
    }

    async fn answer(&mut self, call: Call) {
        let answer = self.take(call.told).await;
        // Whoever asked may have gone away; it is recorded all the same.
        let _ = call.answer.send(answer);
    }

    async fn write(&self, writes: Vec<Write>) -> Result<()> {
        if writes.is_empty() { Ok(()) } else { Ok(self.means.journal.write(writes).await?) }
    }

    fn now(&self) -> Timestamp {
        self.means.journal.clock().now()
    }

    fn record(&self, name: &str, value: Option<String>) -> Write {
        write(KIND_OF_TRIGGERS, &self.means.node, name, value, journal::Expect::Any)
    }
}

/// The name of the record that says how far events are dealt with.
const EVENTS: &str = "events";
/// The name of the record that says since which boot the daemon has run.
const BOOT: &str = "boot";
