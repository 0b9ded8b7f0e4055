//! What the writer does when the database refuses: driven without its thread, on a connection that can be constrained.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot::{Receiver, channel};

use super::{Change, Request, Writer};
use crate::entry::{Begin, Begun, End, Identity, Kind, Outcome};
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::run::{NewRun, RunState};
use crate::{SystemClock, Timestamp, schema};

struct Bench {
    _folder: TempDir,
    writer: Writer,
    run: RunId,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (connection, path) = schema::open(folder.path()).unwrap();
        let broken = Arc::new(AtomicBool::new(false));
        let writer = Writer::new((connection, &path), Arc::new(SystemClock), broken).unwrap();
        let run = RunId::new(Timestamp(1_800_000_000_000), 1);
        let mut bench = Self { _folder: folder, writer, run };
        let nothing = || Value::Null;
        let run = NewRun {
            id: run,
            name: String::new(),
            script: String::new(),
            args: Vec::new(),
            params: nothing(),
            grants: nothing(),
            limits: nothing(),
            seed: 0,
            node: String::new(),
            source: String::new(),
            root: String::new(),
            modules: std::collections::BTreeMap::new(),
            plan: None,
            cause: None,
        };
        bench.change(Change::CreateRun(Box::new(run), None)).unwrap();
        bench
    }

    /// Lets the database grow by no page, or as it likes.
    fn limit_growth(&self, limited: bool) {
        let pages: i64 = self.writer.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        let pages = if limited { pages } else { i64::from(u32::MAX) - 1 };
        let set =
            self.writer.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()));
        set.unwrap();
    }

    fn change(&mut self, change: Change) -> Result<()> {
        let (answer, answered) = channel();
        self.writer.process(vec![Request::Change { change, answer }]);
        now(answered)
    }

    fn set_state(&mut self, state: RunState) -> Result<()> {
        self.change(Change::SetState { run: self.run, state, outcome: None, exit_code: None })
    }

    fn begin(&mut self, counter: u32) -> Result<Begun> {
        let (request, answered) = self.begin_request(counter);
        self.writer.process(vec![request]);
        self.writer.checkpoint_when_due();
        now(answered)
    }

    fn begin_request(&self, counter: u32) -> (Request, Receiver<Result<Begun>>) {
        let (answer, answered) = channel();
        let begin = Begin {
            identity: identity(counter),
            kind: Kind::Act,
            arguments: "{}".into(),
            arguments_hash: [0; 16],
            place: None,
            before: None,
            change: None,
            until: None,
            fence: None,
        };
        (Request::Begin { run: self.run, begin, answer }, answered)
    }

    fn end(&mut self, counter: u32, result: &str) -> Result<()> {
        let (request, answered) = self.end_request(counter, result);
        self.writer.process(vec![request]);
        self.writer.checkpoint_when_due();
        now(answered)
    }

    fn end_request(&self, counter: u32, result: &str) -> (Request, Receiver<Result<()>>) {
        let (answer, answered) = channel();
        let end = End {
            identity: identity(counter),
            kind: Kind::Act,
            arguments: "{}".into(),
            arguments_hash: [0; 16],
            place: None,
            before: None,
            outcome: Outcome::Done(result.into()),
            writes: Vec::new(),
            fence: None,
            changed: true,
        };
        (Request::End { run: self.run, end, urgent: false, answer }, answered)
    }

    fn completed(&self) -> Vec<u32> {
        let mut statement = self
            .writer
            .connection
            .prepare("SELECT counter FROM entries WHERE ended IS NOT NULL ORDER BY key")
            .unwrap();
        let counters = statement.query_map([], |row| row.get(0)).unwrap();
        counters.collect::<rusqlite::Result<_>>().unwrap()
    }
}

fn identity(counter: u32) -> Identity {
    Identity { scope: String::new(), counter, name: "exec.run".into() }
}

fn now<T>(mut answered: Receiver<T>) -> T {
    answered.try_recv().expect("the writer answers before it returns")
}

fn large() -> String {
    format!("\"{}\"", "x".repeat(1 << 20))
}

#[test]
fn a_full_disk_undoes_the_group_whole_and_passes() {
    let mut bench = Bench::new();
    bench.begin(1).unwrap();
    bench.limit_growth(true);
    let (begin, begun) = bench.begin_request(2);
    let (end, ended) = bench.end_request(1, &large());
    bench.writer.process(vec![begin, end]);
    assert_eq!(now(begun), Err(Error::Full));
    assert_eq!(now(ended), Err(Error::Full));
    assert_eq!(bench.completed(), [0; 0]);

    bench.limit_growth(false);
    bench.end(1, &large()).unwrap();
    assert!(bench.begin(2).unwrap().first);
    assert_eq!(bench.completed(), [1]);
}

#[test]
fn a_run_whose_end_was_lost_neither_acts_nor_is_done() {
    let mut bench = Bench::new();
    bench.begin(1).unwrap();
    bench.begin(2).unwrap();
    bench.limit_growth(true);
    assert_eq!(bench.end(1, &large()), Err(Error::Full));
    bench.limit_growth(false);

    let lost = Error::EndLost { run: bench.run, cause: Box::new(Error::Full) };
    assert_eq!(bench.begin(3), Err(lost.clone()));
    assert_eq!(bench.end(2, "2"), Err(lost.clone()));
    assert_eq!(bench.change(Change::Barrier), Err(lost.clone()));
    assert_eq!(bench.set_state(RunState::Done), Err(lost.clone()));
    assert_eq!(bench.set_state(RunState::Waiting), Err(lost));

    bench.set_state(RunState::Paused).unwrap();
    assert!(!bench.begin(1).unwrap().first);
    bench.end(1, "1").unwrap();
    assert_eq!(bench.change(Change::Barrier), Ok(()));
    assert_eq!(bench.completed(), [1]);
}

#[test]
fn a_broken_journal_refuses_everything() {
    let mut bench = Bench::new();
    let broken = Error::Broken("disk I/O error".into());
    bench.writer.give_up(&broken);
    assert_eq!(bench.begin(1), Err(broken.clone()));
    assert_eq!(bench.set_state(RunState::Done), Err(broken.clone()));
    assert_eq!(bench.change(Change::Settle), Err(broken));
    assert!(bench.writer.broken.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(bench.completed(), [0; 0]);
}

#[test]
fn the_log_is_folded_into_the_database_between_commits() {
    let mut bench = Bench::new();
    for counter in 1..=40 {
        bench.end(counter, &format!("\"{counter}{}\"", "x".repeat(1 << 18))).unwrap();
    }
    let log = bench._folder.path().join("journal.db-wal");
    let size = std::fs::metadata(log).unwrap().len();
    assert!(size < 8 << 20, "10 MB were written and the log has {size} bytes");
}
