//! Journals that are damaged: bytes that turned over, files that were cut or mixed up, tables that are not ours, columns of
//! the wrong type. Whatever is read of them is an error or a value; nothing panics, hangs or grows without bound.

#![allow(clippy::unwrap_used, reason = "a test helper that cannot go on fails the test")]

#[path = "journal/support.rs"]
#[expect(dead_code, reason = "the other programs use the rest")]
mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{
    Expect, Filter, Fold, Identity, Journal, Level, LogLine, Place, Result, RunId, RunState, SystemClock,
    Timestamp, Write,
};
use rusqlite::Connection;
use support::{add_run, begin, end, end_with};
use tempfile::TempDir;

/// What one look at a damaged journal may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much memory all of them together may take, in KiB.
const MOST_MEMORY: u64 = 512 << 10;

const FLIPPED: u64 = 400;
const CUT: u64 = 120;
const MIXED: u64 = 120;

/// Numbers that are the same in every run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }
}

/// A journal with something in every table, as a crash would leave it: a database and its log.
struct Sound {
    folder: TempDir,
    run: RunId,
}

impl Sound {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let run = add_run(&journal).await;
        journal.pin_source(&run, "lib/a.luau", "return 1").await.unwrap();
        journal.pin_source(&run, "lib/b.luau", &"x".repeat(20_000)).await.unwrap();
        let [kind, node, name] = ["release", "rift", "mcq"].map(str::to_owned);
        let write = Write { kind, node, name, value: Some(r#"{"version":1}"#.into()), expect: Expect::Any };
        journal.end(&run, end_with(1, vec![write])).durable().await.unwrap();
        for counter in 2..=40 {
            journal.begin(&run, begin(counter)).await.unwrap();
            journal.end(&run, end(counter)).durable().await.unwrap();
        }
        let mut large = begin(41);
        large.before = Some(format!("{:?}", "x".repeat(30_000)));
        journal.begin(&run, large).await.unwrap();
        let opened = Identity { scope: String::new(), counter: 1, name: "runs.checkpoint".into() };
        let fold = Fold { opened, result: "{}".into(), inner: "deploy".into() };
        // There is no such entry: what it says about that is not what is tested here.
        let _ = journal.fold(&run, fold).await;
        for number in 1..=20 {
            let place = Some(Place { file: "deploy.lua".into(), line: 3 });
            let message = "a line ".repeat(50);
            let fields = Some(r#"{"a":1}"#.into());
            let scope = "deploy".into();
            let at = Timestamp(1_800_000_000_000);
            journal.log(&run, LogLine { scope, number, level: Level::Info, message, fields, at, place });
        }
        journal.emit("certs.expiring", r#"{"id":1}"#).await.unwrap();
        journal.set_state(&run, RunState::Failed, None, Some(1)).await.unwrap();
        journal.barrier().await.unwrap();
        drop(journal);
        Self { folder, run }
    }

    /// The database alone, with all that was in the log.
    fn whole(&self) -> Vec<u8> {
        let path = self.folder.path().join("journal.db");
        let connection = Connection::open(&path).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(connection);
        fs::read(path).unwrap()
    }
}

/// Reads everything that there is to read, and tries to go on with the run.
async fn use_all(folder: &Path, run: &RunId) -> Result<()> {
    let journal = Journal::open(folder, Arc::new(SystemClock))?;
    let mut first = Ok(());
    let mut note = |result: Result<()>| {
        if let (Ok(()), Err(_)) = (&first, &result) {
            first = result;
        }
    };
    note(journal.runs(Filter::default()).await.map(drop));
    note(journal.run(&run.to_string()).await.map(drop));
    note(journal.sources(run).await.map(drop));
    note(journal.history(run, 0, usize::MAX).await.map(drop));
    note(journal.entries(run, 0, usize::MAX).await.map(drop));
    note(journal.open_entries(run).await.map(drop));
    note(journal.changed(run, None, 1000).await.map(drop));
    note(journal.later_changes(run, 1000).await.map(drop));
    note(journal.entry(run, "deploy/mcq", 1).await.map(drop));
    note(journal.logs(run, 0, 1000).await.map(drop));
    note(journal.records("release", None).await.map(drop));
    note(journal.record("release", "rift", "mcq").await.map(drop));
    note(journal.event(run, "certs.expiring", 0).await.map(drop));
    note(journal.begin(run, begin(50)).await.map(drop));
    note(journal.end(run, end(50)).durable().await);
    note(journal.emit("certs.expiring", "{}").await);
    note(journal.set_state(run, RunState::Done, None, Some(0)).await);
    first
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Uses the journal that `files` make, and counts whether that was refused.
fn try_files(run: &RunId, files: &[(&str, &[u8])], what: &str, refused: &mut usize) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    try_folder(run, folder.path(), what, refused);
}

fn try_folder(run: &RunId, folder: &Path, what: &str, refused: &mut usize) {
    let started = Instant::now();
    let used = runtime().block_on(use_all(folder, run));
    assert!(started.elapsed() < PATIENCE, "{what}: took {:?}: {used:?}", started.elapsed());
    if let Err(error) = used {
        *refused += 1;
        assert!(error.to_string().len() < 4096, "{what}: a long error");
    }
}

#[test]
fn bytes_that_turned_over_are_no_more_than_an_error() {
    let sound = runtime().block_on(Sound::new());
    let whole = sound.whole();
    let before = descriptors();
    let mut refused = 0;
    for seed in 0..FLIPPED {
        let mut numbers = Numbers::of(seed + 1);
        let mut bytes = whole.clone();
        // The head of the file and of each page weigh more than what lies in the middle of a text.
        let focus = [100, 4096, bytes.len(), bytes.len()][numbers.below(4)];
        for _ in 0..=numbers.below(12) {
            let page = numbers.below(bytes.len() / 4096) * 4096;
            let at = if focus < bytes.len() {
                (page + numbers.below(focus)) % bytes.len()
            } else {
                numbers.below(focus)
            };
            bytes[at] ^= 1 << numbers.below(8);
        }
        try_files(&sound.run, &[("journal.db", &bytes)], &format!("flipped, seed {seed}"), &mut refused);
    }
    assert!(refused > 100, "only {refused} of {FLIPPED} were noticed: are they damaged at all?");
    assert!(memory("VmHWM") < MOST_MEMORY, "{} KiB", memory("VmHWM"));
    assert_eq!(descriptors(), before);
}

#[test]
fn files_that_were_cut_are_no_more_than_an_error() {
    let sound = runtime().block_on(Sound::new());
    let whole = sound.whole();
    let before = descriptors();
    let mut refused = 0;
    for seed in 0..CUT {
        let mut numbers = Numbers::of(seed + 1000);
        let mut bytes = whole.clone();
        let at = numbers.below(bytes.len());
        match seed % 4 {
            0 => bytes.truncate(at),
            1 => bytes.truncate(at / 4096 * 4096),
            2 => bytes[at / 4096 * 4096..].fill(0),
            _ => {
                let end = (at + 1 + numbers.below(20_000)).min(bytes.len());
                bytes[at..end].fill_with(|| numbers.next().to_le_bytes()[0]);
            }
        }
        try_files(&sound.run, &[("journal.db", &bytes)], &format!("cut, seed {seed}"), &mut refused);
    }
    assert!(refused > 40, "only {refused} of {CUT} were noticed");
    assert_eq!(descriptors(), before);
}

#[test]
fn pages_and_logs_that_were_mixed_up_are_no_more_than_an_error() {
    let sound = runtime().block_on(Sound::new());
    let whole = sound.whole();
    let pages = whole.len() / 4096;
    let mut refused = 0;
    for seed in 0..MIXED {
        let mut numbers = Numbers::of(seed + 2000);
        let mut bytes = whole.clone();
        let mut log = Vec::new();
        match seed % 3 {
            0 => {
                let (from, to) = (numbers.below(pages) * 4096, numbers.below(pages) * 4096);
                bytes.copy_within(from..from + 4096, to);
            }
            1 => {
                // A log of another database, or of none.
                log = whole[..numbers.below(whole.len())].to_vec();
            }
            _ => {
                log = [0x37, 0x7f, 0x06, 0x82, 0, 0x2d, 0xe2, 0x18, 0, 0, 0x10, 0].to_vec();
                log.resize_with(numbers.below(40_000), || numbers.next().to_le_bytes()[0]);
            }
        }
        let files: [(&str, &[u8]); 2] = [("journal.db", &bytes), ("journal.db-wal", &log)];
        try_files(&sound.run, &files, &format!("mixed up, seed {seed}"), &mut refused);
    }
    assert!(refused > 10, "only {refused} of {MIXED} were noticed");
}

const TABLES: [&str; 8] = ["runs", "sources", "blobs", "entries", "logs", "records", "folds", "events"];

/// What a column may hold that was not written by this program.
const VALUES: [&str; 6] = ["NULL", "-1", "9223372036854775807", "'{'", "x'ff00'", "zeroblob(1000000)"];

fn columns(connection: &Connection, table: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("PRAGMA table_info({table})")).unwrap();
    let names = statement.query_map([], |row| row.get("name")).unwrap();
    names.collect::<rusqlite::Result<_>>().unwrap()
}

/// The same database without the promises of its tables, so that any column may hold anything.
fn unbound(whole: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    fs::write(&path, whole).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = DELETE;
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(replace(sql, ') STRICT', ')'), ' NOT NULL', '')
             WHERE type = 'table' AND sql NOT LIKE '%WITHOUT ROWID%';
             PRAGMA writable_schema = RESET;",
        )
        .unwrap();
    drop(connection);
    fs::read(path).unwrap()
}

#[test]
fn columns_of_the_wrong_type_are_no_more_than_an_error() {
    let sound = runtime().block_on(Sound::new());
    let unbound = unbound(&sound.whole());
    let (mut refused, mut tried) = (0, 0);
    for table in TABLES {
        let names = {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal.db");
            fs::write(&path, &unbound).unwrap();
            columns(&Connection::open(path).unwrap(), table)
        };
        for name in &names {
            for value in VALUES {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("journal.db");
                fs::write(&path, &unbound).unwrap();
                let connection = Connection::open(&path).unwrap();
                // A key takes no such value; then there is nothing to be tried.
                let set = connection.execute(&format!("UPDATE {table} SET \"{name}\" = {value}"), []);
                drop(connection);
                if set.is_ok_and(|count| count > 0) {
                    tried += 1;
                    try_folder(&sound.run, folder.path(), &format!("{table}.{name} = {value}"), &mut refused);
                }
            }
        }
    }
    assert!(tried > 200 && refused > 100, "{refused} of {tried} were refused");
}

#[test]
fn tables_that_are_not_ours_are_no_more_than_an_error() {
    let sound = runtime().block_on(Sound::new());
    let whole = sound.whole();
    let mut changes: Vec<String> = Vec::new();
    for table in TABLES {
        changes.push(format!("DROP TABLE {table}"));
        changes.push(format!("DELETE FROM {table}"));
        changes.push(format!("ALTER TABLE {table} RENAME TO other"));
        changes.push(format!("DROP TABLE {table}; CREATE TABLE {table} (a)"));
        changes.push(format!("DROP TABLE {table}; CREATE VIEW {table} AS SELECT 1 AS number, 2 AS key"));
        changes.push(format!(
            "CREATE TRIGGER t_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END"
        ));
        changes
            .push(format!("CREATE TRIGGER u_{table} AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END"));
        changes.push(format!(
            "DROP TABLE {table}; CREATE VIEW {table} AS WITH RECURSIVE n(key) AS (SELECT 1 UNION ALL SELECT key + 1 \
             FROM n LIMIT 100000) SELECT key, key AS number FROM n"
        ));
    }
    for version in ["0", "1", "2", "4", "1000", "-1", "2147483647"] {
        changes.push(format!("PRAGMA user_version = {version}"));
    }
    changes.push("PRAGMA encoding = 'UTF-16'; PRAGMA application_id = 7".into());
    changes.push("PRAGMA page_size = 512; PRAGMA journal_mode = DELETE; VACUUM".into());
    let mut refused = 0;
    for change in &changes {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        fs::write(&path, &whole).unwrap();
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        try_folder(&sound.run, folder.path(), change, &mut refused);
    }
    assert!(changes.len() > 70 && refused > 40, "{refused} of {} were refused", changes.len());
}

#[test]
fn what_is_no_database_is_no_more_than_an_error() {
    let sound = runtime().block_on(Sound::new());
    let mut refused = 0;
    let contents: [&[u8]; 6] =
        [b"\0", b"SQLite format 3\0", &[0xff; 4096], b"#!/bin/sh\n", &[0; 100_000], b"{\"runs\": []}"];
    for content in contents {
        try_files(&sound.run, &[("journal.db", content)], "no database", &mut refused);
    }
    for make in [
        |path: &Path| fs::create_dir(path).unwrap(),
        |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        |path: &Path| std::os::unix::fs::symlink("journal.db", path).unwrap(),
        |path: &Path| std::os::unix::fs::symlink("/proc/self/mem", path).unwrap(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        make(&folder.path().join("journal.db"));
        try_folder(&sound.run, folder.path(), "no file", &mut refused);
    }
    assert_eq!(refused, contents.len() + 4);
}
