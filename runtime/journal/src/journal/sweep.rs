//! Owns the removal of runs that nobody needs any more, over a connection of its own: in small transactions, so that it
//! holds nobody up, and so that it can be killed anywhere and done again.

use std::collections::HashSet;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::Value;

use super::Journal;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::probe;
use crate::run::RunState;
use crate::schema;
use crate::writer::KIND_OF_PLANS;

/// How many rows one transaction removes.
const CHUNK: u32 = 2000;
/// A database with fewer free pages is not worth rewriting: they are used again.
const FREE_PART: u64 = 4;
/// While runs are under way only what is rewritten in a moment is: they wait for it.
const LARGEST_IN_PASSING: u64 = 128 << 20;

/// Which finished runs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Those that ended after this moment, all others going.
    pub since: Timestamp,
    /// At most so many of them, the newest.
    pub runs: usize,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// The runs, the oldest first.
    pub runs: Vec<RunId>,
    /// How many finished runs would be old enough and are needed still.
    pub needed: u64,
    /// Their effects.
    pub effects: u64,
    /// The lines of their logs.
    pub lines: u64,
    /// Texts that nothing refers to any more.
    pub blobs: u64,
    /// The size of the database before and after.
    pub bytes: (u64, u64),
}

impl Journal {
    /// Removes the finished runs that `retention` does not keep, and whatever only they referred to. A run stays that is
    /// not over, that a record names, that an unfinished run refers to, or that somebody holds. With `dry`, only tells.
    pub async fn sweep(&self, retention: Retention, dry: bool) -> Result<Swept> {
        self.barrier().await?;
        let journal = self.clone();
        let swept = tokio::task::spawn_blocking(move || sweep(&journal, retention, dry));
        swept.await.unwrap_or_else(|error| Err(Error::Sqlite(error.to_string())))
    }

    /// Whether a run that was made after `run` and changed something was removed: what it built on is not known any more.
    pub async fn swept_after(&self, run: &RunId) -> Result<bool> {
        let run = *run;
        self.read(move |connection| {
            let number = crate::writer::number(connection, &run)?;
            let mut statement = connection.prepare_cached("SELECT 1 FROM horizon WHERE number > ?")?;
            Ok(statement.exists([number])?)
        })
        .await
    }
}

fn sweep(journal: &Journal, retention: Retention, dry: bool) -> Result<Swept> {
    let path = journal.database();
    let mut connection = schema::open_for_maintenance(path)?;
    let mut swept = Swept { bytes: (size(path), 0), ..Swept::default() };
    let needed = needed(&connection)?;
    for candidate in candidates(&connection, retention)? {
        if needed.contains(&candidate.id) {
            swept.needed += 1;
        } else if dry {
            swept.count(&connection, &candidate)?;
        } else {
            // Whoever undoes it or goes back into it holds it, and keeps it.
            let Ok(_lock) = journal.lock_run(&candidate.id) else { continue };
            remove(&mut connection, &candidate, &mut swept)?;
        }
    }
    if !dry {
        // What a sweep that was killed has left goes as well.
        remove_rows(&mut connection)?;
        swept.blobs = remove_blobs(&mut connection)?;
        give_back(&connection)?;
    }
    swept.bytes.1 = size(path);
    Ok(swept)
}

fn count(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(i64::unsigned_abs)
}

fn size(path: &Path) -> u64 {
    let log = path.with_extension("db-wal");
    [path, &log].iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum()
}

/// A run that is old enough to go.
struct Candidate {
    number: i64,
    id: RunId,
}

const CANDIDATES: &str = "
SELECT number, id, updated, row_number() OVER (ORDER BY number DESC) FROM runs
WHERE imported = 1 OR state IN ('done', 'failed', 'cancelled') ORDER BY number";

fn candidates(connection: &Connection, retention: Retention) -> Result<Vec<Candidate>> {
    // Numbers are given to new runs from the highest one on: that one stays.
    let last: Option<i64> = connection.query_row("SELECT max(number) FROM runs", [], |row| row.get(0))?;
    let mut statement = connection.prepare(CANDIDATES)?;
    let mut rows = statement.query([])?;
    let mut candidates = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, updated, rank): (i64, i64, i64) = (row.get(0)?, row.get(2)?, row.get(3)?);
        let is_beyond = usize::try_from(rank).is_ok_and(|rank| rank > retention.runs);
        if (updated < retention.since.0 || is_beyond) && Some(number) != last {
            let id: String = row.get(1)?;
            let id = id.parse().map_err(|error: crate::id::InvalidId| Error::Corrupt(error.to_string()))?;
            candidates.push(Candidate { number, id });
        }
    }
    Ok(candidates)
}

/// The runs that something refers to: records, whose grants operations on them take, and runs that are not over.
fn needed(connection: &Connection) -> Result<HashSet<RunId>> {
    let mut needed = HashSet::new();
    let mut statement = connection.prepare(
        "SELECT DISTINCT run FROM records WHERE run IS NOT NULL AND kind <> ?
         AND kind NOT IN ('port', 'port-number', 'occurrence', 'delivery', 'trigger', 'document')",
    )?;
    let recorded = statement.query_map([KIND_OF_PLANS], |row| row.get::<_, String>(0))?;
    for run in recorded {
        needed.extend(run?.parse::<RunId>().ok());
    }
    let mut statement = connection.prepare(
        "SELECT number, args, origin FROM runs
         WHERE imported = 0 AND state NOT IN ('done', 'failed', 'cancelled')",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // An undo names the run that it takes back in its words, a script in what it asks for.
        collect(&row.get::<_, String>(1)?, &mut needed);
        collect(&row.get::<_, Option<String>>(2)?.unwrap_or_default(), &mut needed);
        let number: i64 = row.get(0)?;
        let mut asked = connection.prepare_cached(
            "SELECT arguments FROM entries WHERE key BETWEEN ? AND ? AND name IN ('runs.restore', 'runs.changes')",
        )?;
        let keys = (schema::key(number, 0), schema::key(number, u32::MAX));
        for arguments in asked.query_map(keys, |row| row.get::<_, String>(0))? {
            collect(&arguments?, &mut needed);
        }
    }
    Ok(needed)
}

/// Every run that a JSON text names.
fn collect(text: &str, runs: &mut HashSet<RunId>) {
    fn visit(value: &Value, runs: &mut HashSet<RunId>) {
        match value {
            Value::String(text) => runs.extend(text.parse::<RunId>().ok()),
            Value::Array(items) => items.iter().for_each(|item| visit(item, runs)),
            Value::Object(fields) => fields.values().for_each(|field| visit(field, runs)),
            _ => {}
        }
    }
    if let Ok(value) = serde_json::from_str(text) {
        visit(&value, runs);
    }
}

impl Swept {
    /// Adds what there is of a run; whether it changed anything.
    fn count(&mut self, connection: &Connection, run: &Candidate) -> Result<bool> {
        let entries = (schema::key(run.number, 0), schema::key(run.number, u32::MAX));
        let counted = |sql: &str| connection.prepare_cached(sql)?.query_row(entries, count);
        self.effects += counted("SELECT count(*) FROM entries WHERE key BETWEEN ? AND ?")?;
        self.lines += counted("SELECT count(*) FROM logs WHERE key BETWEEN ? AND ?")?;
        self.runs.push(run.id);
        let changed = "SELECT EXISTS (SELECT 1 FROM entries WHERE key BETWEEN ? AND ? AND changed = 1)";
        Ok(counted(changed)? > 0)
    }
}

/// Takes a run away. From this commit on it is gone; its rows follow.
fn remove(connection: &mut Connection, run: &Candidate, swept: &mut Swept) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let state: Option<(String, bool)> = transaction
        .query_row("SELECT state, imported FROM runs WHERE number = ?", [run.number], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let is_over = state
        .is_some_and(|(state, imported)| imported || state.parse::<RunState>().is_ok_and(RunState::is_final));
    if !is_over {
        return Ok(());
    }
    if swept.count(&transaction, run)? {
        transaction.execute(
            "INSERT INTO horizon (one, number) VALUES (1, ?)
             ON CONFLICT DO UPDATE SET number = max(number, excluded.number)",
            [run.number],
        )?;
    }
    transaction.execute("INSERT OR IGNORE INTO swept (number) VALUES (?)", [run.number])?;
    for table in ["sources", "folds"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE run = ?"), [run.number])?;
    }
    transaction.execute("DELETE FROM held WHERE run = ?", [run.id.as_str()])?;
    // What it asked people for is in the audit.
    let asked = format!("{}-*", run.id);
    transaction.execute("DELETE FROM records WHERE kind = 'approval' AND name GLOB ?", [asked])?;
    transaction.execute("DELETE FROM runs WHERE number = ?", [run.number])?;
    probe::reached("sweep:before-commit");
    transaction.commit()?;
    probe::reached("sweep:after-commit");
    remove_rows(connection)
}

/// Removes the entries and log lines of runs that are gone.
fn remove_rows(connection: &mut Connection) -> Result<()> {
    let gone = "SELECT number FROM swept ORDER BY number LIMIT 1";
    while let Some(number) = connection.query_row(gone, [], |row| row.get::<_, i64>(0)).optional()? {
        let (first, last) = (schema::key(number, 0), schema::key(number, u32::MAX));
        for table in ["entries", "logs"] {
            let chunk = format!(
                "DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE key BETWEEN ? AND ? LIMIT ?)"
            );
            while connection.execute(&chunk, params![first, last, CHUNK])? > 0 {
                probe::reached("sweep:rows");
            }
        }
        connection.execute("DELETE FROM swept WHERE number = ?", [number])?;
    }
    Ok(())
}

const BLOBS: &str = "
DELETE FROM blobs WHERE hash > :after AND hash <= :until
    AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.blob = blobs.hash)
    AND hash NOT IN (SELECT source FROM runs)
    AND hash NOT IN (SELECT planned FROM runs WHERE planned IS NOT NULL)
    AND hash NOT IN (SELECT blob FROM sources)";

/// Removes the texts that nothing refers to. Whoever stores a text and its reference does so in one transaction.
fn remove_blobs(connection: &mut Connection) -> Result<u64> {
    let next = "SELECT max(hash) FROM (SELECT hash FROM blobs WHERE hash > ? ORDER BY hash LIMIT ?)";
    let mut after = Vec::new();
    let mut removed = 0;
    loop {
        let until: Option<Vec<u8>> = connection.query_row(next, params![after, CHUNK], |row| row.get(0))?;
        let Some(until) = until else { return Ok(removed) };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        removed +=
            transaction.execute(BLOBS, rusqlite::named_params! { ":after": after, ":until": until })? as u64;
        transaction.commit()?;
        probe::reached("sweep:blobs");
        after = until;
    }
}

/// Gives free pages back to the file system, where that is worth it and holds nobody up for long.
fn give_back(connection: &Connection) -> Result<()> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], count);
    let (pages, free, page) = (pragma("page_count")?, pragma("freelist_count")?, pragma("page_size")?);
    let is_worth_it = free * FREE_PART >= pages && free > 0;
    let under_way: u64 = connection.query_row(
        "SELECT count(*) FROM runs WHERE imported = 0 AND state IN ('pending', 'running', 'waiting')",
        [],
        count,
    )?;
    if is_worth_it && (under_way == 0 || (pages - free) * page <= LARGEST_IN_PASSING) {
        probe::reached("sweep:vacuum");
        match connection.execute_batch("VACUUM").map_err(Error::from) {
            // The pages are used again, which is as good where there is no room to rewrite the file.
            Err(error @ (Error::Full | Error::Busy)) => tracing::debug!(%error, "free pages are kept"),
            given_back => given_back?,
        }
    }
    // A reader in the way leaves the log as it is, for the next time.
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    Ok(())
}
