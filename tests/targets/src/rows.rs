//! A journal whose rows hold what nobody has written.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use journal::{Filter, Journal, NewRun, RunId, SystemClock};
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A journal with one run, and a second way into its database.
struct Stage {
    _folder: TempDir,
    runtime: Runtime,
    journal: Journal,
    run: RunId,
    database: Connection,
    /// By table, the names of its columns.
    columns: Vec<(&'static str, Vec<String>)>,
}

const TABLES: [&str; 6] = ["runs", "entries", "logs", "records", "folds", "events"];

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let run = journal.next_id().unwrap();
        let new = NewRun {
            id: run,
            name: "a.lua".into(),
            script: "a.lua".into(),
            args: Vec::new(),
            params: serde_json::Value::Null,
            grants: serde_json::Value::Null,
            limits: serde_json::Value::Null,
            seed: 1,
            node: "here".into(),
            source: "print(1)".into(),
            root: "/".into(),
            modules: BTreeMap::new(),
            plan: None,
            cause: None,
        };
        runtime.block_on(journal.create_run(new)).unwrap();
        let database = Connection::open(folder.path().join("journal.db")).unwrap();
        database.execute_batch("PRAGMA synchronous = OFF").unwrap();
        let columns = TABLES.map(|table| {
            let mut statement = database.prepare(&format!("PRAGMA table_info({table})")).unwrap();
            let names = statement.query_map([], |row| row.get("name")).unwrap();
            (table, names.collect::<rusqlite::Result<_>>().unwrap())
        });
        Self { _folder: folder, runtime, journal, run, database, columns: columns.into() }
    }

    /// Puts one row into a table, chosen by the first byte; its columns are cut from the rest.
    fn put(&self, bytes: &[u8]) {
        let Some((first, rest)) = bytes.split_first() else { return };
        let (table, names) = &self.columns[usize::from(*first) % self.columns.len()];
        let mut parts = rest.split(|byte| *byte == 0xff);
        let values: Vec<Value> = names.iter().map(|_| value(parts.next().unwrap_or_default())).collect();
        let places = vec!["?"; values.len()].join(", ");
        // What the table itself refuses never gets that far.
        let _ = self.database.execute(
            &format!("INSERT OR REPLACE INTO {table} VALUES ({places})"),
            rusqlite::params_from_iter(values),
        );
    }

    fn read(&self) {
        let (journal, run) = (&self.journal, &self.run);
        self.runtime.block_on(async {
            // Whatever it is, it is an answer.
            let _ = journal.runs(Filter::default()).await;
            let _ = journal.run(&run.to_string()).await;
            let _ = journal.history(run, 0, 1000).await;
            let _ = journal.entries(run, 0, 1000).await;
            let _ = journal.open_entries(run).await;
            let _ = journal.changed(run, None, 1000).await;
            let _ = journal.later_changes(run, 1000).await;
            let _ = journal.logs(run, 0, 1000).await;
            let _ = journal.records("service", None).await;
            let _ = journal.event(run, "an.event", 0).await;
        });
    }

    fn clear(&self) {
        for table in ["entries", "logs", "records", "folds", "events"] {
            self.database.execute(&format!("DELETE FROM {table}"), []).unwrap();
        }
        self.database.execute("DELETE FROM runs WHERE id != ?", [self.run.to_string()]).unwrap();
    }
}

/// The first byte tells the kind, the rest is the value.
fn value(part: &[u8]) -> Value {
    let Some((kind, rest)) = part.split_first() else { return Value::Null };
    let mut number = [0; 8];
    let length = rest.len().min(8);
    number[..length].copy_from_slice(&rest[..length]);
    match kind % 6 {
        0 => Value::Null,
        1 => Value::Integer(i64::from_le_bytes(number)),
        2 => Value::Real(f64::from_le_bytes(number)),
        3 => Value::Blob(rest.to_vec()),
        // The keys of the one run lie here.
        4 => Value::Integer(
            1 << 32 | i64::from(u32::from_le_bytes([number[0], number[1], number[2], number[3]])),
        ),
        _ => Value::Text(String::from_utf8_lossy(rest).into_owned()),
    }
}

/// Rows, separated by two bytes of 0xfe.
///
/// # Panics
/// When a journal that holds them panics.
pub fn rows(bytes: &[u8]) {
    STAGE.with_borrow_mut(|stage| {
        let stage = stage.get_or_insert_with(Stage::new);
        let mut rest = bytes;
        for _ in 0..8 {
            let end = rest.windows(2).position(|pair| pair == [0xfe, 0xfe]).unwrap_or(rest.len());
            stage.put(&rest[..end]);
            rest = rest.get(end + 2..).unwrap_or_default();
        }
        stage.read();
        stage.clear();
    });
}
