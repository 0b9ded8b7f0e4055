//! Owns what the tests share: a journal in a folder of its own, a clock that counts, short ways to begin and end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use journal::{
    Begin, Clock, End, Identity, Journal, Kind, NewRun, Options, Outcome, Place, RunId, Timestamp, Write,
};
use serde_json::json;
use tempfile::TempDir;

/// So long that nothing is committed that nobody waits for.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// Every look at this clock is a millisecond after the last.
pub(crate) struct Counting(AtomicI64);

impl Default for Counting {
    fn default() -> Self {
        Self(AtomicI64::new(1_800_000_000_000))
    }
}

impl Clock for Counting {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

pub(crate) fn open(folder: &Path) -> Journal {
    Journal::open(folder, Arc::new(Counting::default())).unwrap()
}

/// Opens a journal that commits only what is waited for.
pub(crate) fn open_lazy(folder: &Path) -> Journal {
    let options = Options { group_delay: NEVER };
    Journal::open_with(folder, Arc::new(Counting::default()), options).unwrap()
}

pub(crate) fn new_run(journal: &Journal) -> NewRun {
    NewRun {
        id: journal.next_id().unwrap(),
        name: "deploy.lua".into(),
        script: "/srv/scripts/deploy.lua".into(),
        args: vec!["one".into(), "two words".into()],
        params: json!({ "force": true }),
        grants: json!(["containers:write:mcq-*"]),
        limits: json!({ "memory": 1 << 27 }),
        seed: u64::MAX - 1,
        node: "rift".into(),
        source: "log.info('hello')".into(),
        root: "/srv/scripts".into(),
        modules: std::collections::BTreeMap::new(),
        plan: None,
        cause: None,
    }
}

/// A journal with one run.
pub(crate) async fn started() -> (TempDir, Journal, RunId) {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let run = add_run(&journal).await;
    (folder, journal, run)
}

pub(crate) async fn add_run(journal: &Journal) -> RunId {
    let run = new_run(journal);
    let id = run.id;
    journal.create_run(run).await.unwrap();
    id
}

pub(crate) fn identity(counter: u32) -> Identity {
    Identity { scope: "deploy/mcq".into(), counter, name: "containers.ensure".into() }
}

pub(crate) fn begin(counter: u32) -> Begin {
    Begin {
        identity: identity(counter),
        kind: Kind::Ensure,
        arguments: format!(r#"{{"name":"mcq-{counter}"}}"#).into(),
        arguments_hash: [counter as u8; 16],
        place: Some(Place { file: "deploy.lua".into(), line: 14 }),
        before: Some(format!(r#"{{"image":"mcq:v{counter}"}}"#)),
        change: Some(r#"{"image":["v1","v2"]}"#.into()),
        until: None,
        fence: None,
    }
}

pub(crate) fn end(counter: u32) -> End {
    let Begin { identity, kind, arguments, arguments_hash, place, before, .. } = begin(counter);
    let outcome = Outcome::Done(format!("{counter}").into());
    End {
        identity,
        kind,
        arguments,
        arguments_hash,
        place,
        before,
        outcome,
        writes: Vec::new(),
        fence: None,
        changed: true,
    }
}

pub(crate) fn end_with(counter: u32, writes: Vec<Write>) -> End {
    End { writes, ..end(counter) }
}

/// What a crash at this moment would leave: copies of the files as they are. Whatever was answered is in them.
pub(crate) fn crashed_copy(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["journal.db", "journal.db-wal"] {
        let from = folder.join(file);
        if from.exists() {
            std::fs::copy(from, copy.path().join(file)).unwrap();
        }
    }
    copy
}

/// The identities' counters of a run's history, in order.
pub(crate) async fn completed(journal: &Journal, run: &RunId) -> Vec<u32> {
    let history = journal.history(run, 0, usize::MAX).await.unwrap();
    let orders: Vec<u64> = history.iter().map(|recorded| recorded.order).collect();
    assert_eq!(orders, (1..=history.len() as u64).collect::<Vec<_>>(), "the order has no gaps");
    history.into_iter().map(|recorded| recorded.identity.counter).collect()
}

/// The identities' counters of a run's open entries.
pub(crate) async fn open_counters(journal: &Journal, run: &RunId) -> Vec<u32> {
    let open = journal.open_entries(run).await.unwrap();
    open.into_iter().map(|open| open.identity.counter).collect()
}
