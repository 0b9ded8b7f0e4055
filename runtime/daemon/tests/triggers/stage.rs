//! Owns what the tests share: a journal, a clock that a test sets, whoever executes runs by recording them, and an engine
//! that can be dropped at any moment and loaded again.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use daemon::playbooks::{CatchUp, Cron, Definition, Every, OnEvent, Overlap, Playbook, Table, Trigger};
use daemon::runs::{Cause, Order, Runs, Submission, Watching, Wish};
use daemon::triggers::{Engine, Means, Occurrence, last};
use effect::{Code, Error, Result};
use jiff::tz::TimeZone;
use journal::{Clock, Filter, Journal, NewCause, NewRun, Run, RunId, RunState, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

pub(crate) const NODE: &str = "rift";
/// 2027-01-15T08:00:00Z.
pub(crate) const BEGIN: Timestamp = Timestamp(1_800_000_000_000);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A clock that a test sets.
pub(crate) struct Set(AtomicI64);

impl Set {
    pub(crate) fn forward(&self, span: Duration) {
        self.0.fetch_add(millis(span), Ordering::SeqCst);
    }

    pub(crate) fn back(&self, span: Duration) {
        self.0.fetch_sub(millis(span), Ordering::SeqCst);
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap()
}

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Records runs, and has them under way until a test ends them.
#[derive(Debug)]
pub(crate) struct Recording {
    journal: Journal,
    count: AtomicU32,
    /// Whether nothing can be started, as with a full disk.
    pub(crate) is_full: AtomicBool,
    /// Whether playbooks are refused for good.
    pub(crate) refuses: AtomicBool,
    /// Whether a run is over as soon as it is recorded.
    pub(crate) are_short: AtomicBool,
    /// How many of these there are still.
    pub(crate) under_way: Arc<AtomicU32>,
}

#[async_trait]
impl Runs for Recording {
    async fn start(&self, order: Order) -> Result<RunId> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(Error::new(Code::DiskFull, "there is no room left"));
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Error::new(Code::BadCapability, "it may not"));
        }
        // Their clock stands still: by chance alone some would have one id.
        let id = RunId::new(BEGIN, self.count.fetch_add(1, Ordering::SeqCst));
        let playbook = Some(order.playbook.definition.name.clone());
        let told = serde_json::to_value(&order.cause).unwrap();
        let cause = Some(NewCause { playbook, told, writes: order.writes });
        let run = new_run(id, order.params, cause);
        if !self.are_short.load(Ordering::SeqCst) {
            self.journal.create_run(run).await?;
            return Ok(id);
        }
        let (journal, under_way) = (self.journal.clone(), self.under_way.clone());
        under_way.fetch_add(1, Ordering::SeqCst);
        // Goes on where whoever started it is killed.
        let whole = tokio::spawn(async move {
            let recorded = journal.create_run(run).await;
            if recorded.is_ok() {
                journal.set_state(&id, RunState::Done, None, Some(0)).await.unwrap();
            }
            under_way.fetch_sub(1, Ordering::SeqCst);
            recorded
        });
        whole.await.unwrap()?;
        Ok(id)
    }

    async fn cancel(&self, run: &RunId) -> Result<()> {
        Ok(self.journal.set_state(run, RunState::Cancelled, None, Some(1)).await?)
    }

    async fn submit(&self, _: Submission) -> Result<RunId> {
        unreachable!("triggers start playbooks")
    }

    async fn go_on(&self, _: &RunId, _: Wish) -> Result<()> {
        unreachable!("triggers start playbooks")
    }

    async fn undo(&self, _: &RunId, _: bool, _: effect::policy::Grants, _: Cause) -> Result<RunId> {
        unreachable!("triggers start playbooks")
    }

    async fn operate(&self, _: &str, _: &str, _: Cause) -> Result<RunId> {
        unreachable!("triggers start playbooks")
    }

    async fn interrupt(&self, _: &RunId, _: bool) -> Result<()> {
        unreachable!("triggers start playbooks")
    }

    async fn answer(&self, _: &RunId, _: u64, _: bool) -> Result<()> {
        unreachable!("triggers start playbooks")
    }

    async fn watch(&self, _: &RunId, _: bool) -> Result<Watching> {
        unreachable!("triggers start playbooks")
    }
}

fn new_run(id: RunId, params: Value, cause: Option<NewCause>) -> NewRun {
    NewRun {
        id,
        name: "playbook.lua".into(),
        script: "/etc/mcrun/playbooks/playbook.lua".into(),
        args: Vec::new(),
        params,
        grants: json!([]),
        limits: json!({}),
        seed: 1,
        node: NODE.into(),
        source: "return playbook {}".into(),
        root: "/etc/mcrun/playbooks".into(),
        modules: BTreeMap::new(),
        plan: None,
        cause,
    }
}

pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<Set>,
    pub(crate) journal: Journal,
    pub(crate) runs: Arc<Recording>,
    pub(crate) table: watch::Sender<Arc<Table>>,
    pub(crate) boot: String,
}

impl Stage {
    pub(crate) fn with(definitions: Vec<Definition>) -> Self {
        // In memory where there is one: what a disk takes for each commit is not what is tested.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let clock = Arc::new(Set(AtomicI64::new(BEGIN.0)));
        let journal = Journal::open(folder.path(), clock.clone()).unwrap();
        let runs = Arc::new(Recording {
            journal: journal.clone(),
            count: 0.into(),
            is_full: false.into(),
            refuses: false.into(),
            are_short: false.into(),
            under_way: Arc::default(),
        });
        let (table, _) = watch::channel(Arc::new(table(definitions)));
        Self { folder, clock, journal, runs, table, boot: "boot-1".into() }
    }

    pub(crate) fn load_table(&self, definitions: Vec<Definition>) {
        self.table.send_replace(Arc::new(table(definitions)));
    }

    pub(crate) fn means(&self) -> Means {
        Means {
            journal: self.journal.clone(),
            node: NODE.into(),
            runs: self.runs.clone(),
            table: self.table.subscribe(),
            zone: TimeZone::UTC,
            boot: self.boot.clone(),
        }
    }

    /// How many runs were to be recorded so far.
    pub(crate) fn started(&self) -> u32 {
        self.runs.count.load(Ordering::SeqCst)
    }

    /// An engine that has seen what is loaded.
    pub(crate) async fn engine(&self) -> Engine {
        let mut engine = Engine::load(self.means()).await.unwrap();
        engine.pass().await.unwrap();
        engine
    }

    /// Every run of a playbook, the first first.
    pub(crate) async fn runs_of(&self, playbook: &str) -> Vec<Run> {
        let filter = Filter { state: None, limit: 1_000_000 };
        let mut runs = self.journal.runs(filter).await.unwrap();
        runs.retain(|run| run.playbook.as_deref() == Some(playbook));
        runs.reverse();
        runs
    }

    /// What the runs of a playbook were told.
    pub(crate) async fn told(&self, playbook: &str) -> Vec<Value> {
        let runs = self.runs_of(playbook).await;
        runs.into_iter().map(|run| run.cause.unwrap()["event"].clone()).collect()
    }

    /// The occurrences of a playbook, the first first.
    pub(crate) async fn occurrences(&self, playbook: &str) -> Vec<Occurrence> {
        let mut all = last(&self.journal, NODE, Some(playbook), usize::MAX).await.unwrap();
        all.reverse();
        all
    }

    pub(crate) async fn unfinished(&self, playbook: &str) -> Vec<RunId> {
        self.journal.unfinished_of(playbook).await.unwrap()
    }

    pub(crate) async fn finish(&self, playbook: &str) {
        for run in self.unfinished(playbook).await {
            self.journal.set_state(&run, RunState::Done, None, Some(0)).await.unwrap();
        }
    }
}

pub(crate) fn table(definitions: Vec<Definition>) -> Table {
    let mut table = Table::default();
    for definition in definitions {
        let playbook = Playbook {
            version: "0123456789ab".into(),
            number: 1,
            file: PathBuf::from("/etc/mcrun/playbooks/playbook.lua"),
            root: PathBuf::from("/etc/mcrun/playbooks"),
            source: "return playbook {}".into(),
            modules: BTreeMap::new(),
            loaded: BEGIN,
            definition,
        };
        table.playbooks.insert(playbook.definition.name.clone(), Arc::new(playbook));
    }
    table
}

pub(crate) fn playbook(name: &str, on: Vec<Trigger>, overlap: Overlap, catch_up: CatchUp) -> Definition {
    Definition {
        name: name.into(),
        description: None,
        allow: None,
        on,
        params: BTreeMap::new(),
        overlap,
        catch_up,
        timeout: None,
    }
}

pub(crate) fn every(span: Duration) -> Trigger {
    Trigger::Every(Every { every: span, jitter: Duration::ZERO })
}

pub(crate) fn cron(expression: &str) -> Trigger {
    Trigger::Cron(Cron { expression: expression.into(), zone: Some("UTC".into()), jitter: Duration::ZERO })
}

pub(crate) fn event(pattern: &str) -> Trigger {
    Trigger::Event(OnEvent { pattern: pattern.into(), filter: BTreeMap::new(), at_most: None })
}

/// Waits until something is as expected; fails after a minute.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(MINUTE, waiting).await.is_ok(), "it did not come about: {what}");
}
