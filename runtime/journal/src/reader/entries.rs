//! Owns how entries and log lines are read, in pages that stay small whatever they hold.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::folds::Folds;
use super::text::{blob, moment, place, word};
use crate::clock::Timestamp;
use crate::entry::{Entry, Identity, Kind, Later, Open, Outcome, Place, Recorded, Status};
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::log::{Log, LogLine};
use crate::schema::{self, LAST_COMPLETED};
use crate::writer::number;

/// A page ends once the texts in it are longer than this together.
const LARGEST_PAGE: usize = 4 << 20;

const HISTORY: &str = "
SELECT key, scope, counter, name, kind, hash, file, line, status, blob, result
FROM entries WHERE key BETWEEN ? AND ? ORDER BY key";

/// Completed entries beyond `after`, in the order of completion, without those of finished checkpoints.
pub(crate) fn history(
    connection: &Connection,
    run: &RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<Recorded>> {
    let number = number(connection, run)?;
    let folds = Folds::open(connection, number, after)?;
    let mut statement = connection.prepare_cached(HISTORY)?;
    let mut page = Vec::with_capacity(limit.min(1024));
    let (mut size, mut after) = (0, u32::try_from(after).unwrap_or(LAST_COMPLETED));
    loop {
        after = folds.skipped(after)?;
        let stretch = folds.until(after)?;
        let keys = (schema::key(number, after) + 1, schema::key(number, stretch));
        let mut rows = statement.query(keys)?;
        while let Some(row) = rows.next()? {
            if folds.hides(row)? {
                continue;
            }
            if page.len() == limit || size >= LARGEST_PAGE {
                return Ok(page);
            }
            let recorded = recorded(connection, row)?;
            size += recorded.outcome.text().map_or(0, str::len);
            page.push(recorded);
        }
        if stretch == LAST_COMPLETED {
            return Ok(page);
        }
        after = stretch;
    }
}

/// One row of [`HISTORY`], by position: a long history is read row by row while a worker waits for it.
fn recorded(connection: &Connection, row: &Row<'_>) -> Result<Recorded> {
    let file: Option<String> = row.get(6)?;
    let result = match row.get_ref(9)? {
        ValueRef::Blob(hash) => Some(blob(connection, hash)?.into_boxed_str()),
        _ => row.get::<_, Option<Box<str>>>(10)?,
    };
    Ok(Recorded {
        order: schema::place(row.get(0)?).into(),
        identity: Identity { scope: row.get(1)?, counter: row.get(2)?, name: row.get(3)? },
        kind: parsed(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?,
        arguments_hash: row.get(5)?,
        place: file.map(|file| Ok::<_, Error>(Place { file, line: row.get(7)? })).transpose()?,
        outcome: outcome(row.get_ref(8)?.as_str().map_err(rusqlite::Error::from)?, result)?,
    })
}

fn parsed(kind: &str) -> Result<Kind> {
    kind.parse().map_err(Error::Corrupt)
}

fn outcome(status: &str, result: Option<Box<str>>) -> Result<Outcome> {
    match (status, result) {
        ("done", Some(result)) => Ok(Outcome::Done(result)),
        ("failed", Some(error)) => Ok(Outcome::Failed(error)),
        ("cancelled", None) => Ok(Outcome::Cancelled),
        (status, _) => Err(Error::Corrupt(format!("an entry has ended as `{status}`"))),
    }
}

/// The entries that have begun and not ended.
pub(crate) fn open(connection: &Connection, run: &RunId) -> Result<Vec<Open>> {
    let keys = schema::begun(number(connection, run)?);
    let mut statement =
        connection.prepare_cached("SELECT * FROM entries WHERE key BETWEEN ? AND ? ORDER BY key")?;
    let rows = statement.query_map([keys.start(), keys.end()], |row| {
        Ok(Open {
            identity: identity(row)?,
            kind: word(row, "kind")?,
            arguments: row.get("arguments")?,
            arguments_hash: row.get("hash")?,
            place: place(row)?,
            before: row.get("before")?,
            change: row.get("change")?,
            begun_at: Timestamp(row.get("begun")?),
            until: moment(row, "until")?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Completed entries beyond `after` with everything that is stored; at their end, the begun ones.
pub(crate) fn entries(connection: &Connection, run: &RunId, after: u64, limit: usize) -> Result<Vec<Entry>> {
    let keys = schema::completed(number(connection, run)?, after);
    let mut statement =
        connection.prepare_cached("SELECT * FROM entries WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?")?;
    let mut rows = statement.query((keys.start(), keys.end(), limited(limit)))?;
    let mut page = Vec::new();
    let mut size = 0;
    while let Some(row) = rows.next()?
        && size < LARGEST_PAGE
    {
        let entry = entry(connection, row)?;
        size += entry.arguments.len() + entry.result.as_ref().map_or(0, |result| result.len());
        size += entry.before.as_ref().map_or(0, String::len);
        page.push(entry);
    }
    if page.is_empty() && limit > 0 {
        page.extend(open(connection, run)?.into_iter().map(Entry::from));
    }
    Ok(page)
}

fn entry(connection: &Connection, row: &Row<'_>) -> Result<Entry> {
    let result = match row.get_ref("blob")? {
        ValueRef::Blob(hash) => Some(blob(connection, hash)?.into_boxed_str()),
        _ => row.get("result")?,
    };
    Ok(Entry {
        order: Some(schema::place(row.get("key")?).into()),
        identity: identity(row)?,
        kind: word(row, "kind")?,
        status: word(row, "status")?,
        arguments: row.get("arguments")?,
        arguments_hash: row.get("hash")?,
        place: place(row)?,
        before: row.get("before")?,
        change: row.get("change")?,
        until: moment(row, "until")?,
        begun_at: moment(row, "begun")?,
        ended_at: moment(row, "ended")?,
        result,
        changed: row.get("changed")?,
    })
}

impl From<Open> for Entry {
    fn from(open: Open) -> Self {
        Self {
            order: None,
            identity: open.identity,
            kind: open.kind,
            status: Status::Begun,
            arguments: open.arguments,
            arguments_hash: open.arguments_hash,
            place: open.place,
            before: open.before,
            change: open.change,
            until: open.until,
            begun_at: Some(open.begun_at),
            ended_at: None,
            result: None,
            changed: false,
        }
    }
}

fn identity(row: &Row<'_>) -> rusqlite::Result<Identity> {
    Ok(Identity { scope: row.get("scope")?, counter: row.get("counter")?, name: row.get("name")? })
}

const CHANGED: &str = "
SELECT * FROM entries
WHERE key BETWEEN ? AND ? AND (changed = 1 OR key > ?) AND kind IN ('ensure', 'act')
ORDER BY key DESC LIMIT ?";

/// Ensures and acts of a run that changed something or may have, the last first: begun ones, then completed ones below
/// the order `before`.
pub(crate) fn changed(
    connection: &Connection,
    run: &RunId,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Entry>> {
    let number = number(connection, run)?;
    let (completed, begun) = (schema::completed(number, 0), schema::begun(number));
    let last = match before.map(u32::try_from) {
        None => *begun.end(),
        Some(Ok(before)) => schema::key(number, before.min(LAST_COMPLETED)) - 1,
        Some(Err(_)) => *completed.end(),
    };
    let mut statement = connection.prepare_cached(CHANGED)?;
    let mut rows = statement.query((completed.start(), last, completed.end(), limited(limit)))?;
    let mut page = Vec::new();
    let mut size = 0;
    while let Some(row) = rows.next()?
        && size < LARGEST_PAGE
    {
        let entry = any_entry(connection, row)?;
        size += entry.arguments.len() + entry.before.as_ref().map_or(0, String::len);
        page.push(entry);
    }
    Ok(page)
}

/// The entry at one place of a run, begun or completed.
pub(crate) fn at(connection: &Connection, run: &RunId, scope: &str, counter: u32) -> Result<Option<Entry>> {
    let number = number(connection, run)?;
    let mut statement = connection
        .prepare_cached("SELECT * FROM entries WHERE key BETWEEN ? AND ? AND scope = ? AND counter = ?")?;
    let keys = (schema::completed(number, 0), schema::begun(number));
    let mut rows = statement.query((keys.0.start(), keys.1.end(), scope, counter))?;
    rows.next()?.map(|row| any_entry(connection, row)).transpose()
}

const LATER: &str = "
SELECT runs.id, entries.name, entries.arguments, entries.scope, entries.counter
FROM entries JOIN runs ON runs.number = entries.key >> 32
WHERE entries.key > ? AND entries.kind = 'ensure' AND (entries.changed = 1 OR (entries.key & 0xffffffff) > ?)
    AND runs.imported = 0
ORDER BY entries.key LIMIT ?";

/// Ensures of runs that were made after `run` and that changed something or may have, the first first.
pub(crate) fn later(connection: &Connection, run: &RunId, limit: usize) -> Result<Vec<Later>> {
    let last = schema::key(number(connection, run)?, u32::MAX);
    let mut statement = connection.prepare_cached(LATER)?;
    let rows = statement.query_map((last, LAST_COMPLETED, limited(limit)), |row| {
        let identity = Identity { name: row.get(1)?, scope: row.get(3)?, counter: row.get(4)? };
        Ok(Later { run: row.get(0)?, identity, arguments: row.get(2)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn any_entry(connection: &Connection, row: &Row<'_>) -> Result<Entry> {
    let entry = entry(connection, row)?;
    let is_open = entry.status == Status::Begun;
    Ok(Entry { order: entry.order.filter(|_| !is_open), ..entry })
}

/// Lines of a run's log beyond `after`.
pub(crate) fn logs(connection: &Connection, run: &RunId, after: u64, limit: usize) -> Result<Vec<Log>> {
    let keys = schema::logged(number(connection, run)?, after);
    let mut statement =
        connection.prepare_cached("SELECT * FROM logs WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?")?;
    let rows = statement.query_map((keys.start(), keys.end(), limited(limit)), |row| {
        let line = LogLine {
            scope: row.get("scope")?,
            number: row.get::<_, i64>("number")?.cast_unsigned(),
            level: word(row, "level")?,
            message: row.get("message")?,
            fields: row.get("fields")?,
            at: Timestamp(row.get("at")?),
            place: place(row)?,
        };
        Ok(Log { order: schema::place(row.get("key")?).into(), line })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The place of the last line of a run's log, 0 where it has none.
pub(crate) fn last_log(connection: &Connection, run: &RunId) -> Result<u64> {
    let keys = schema::logged(number(connection, run)?, 0);
    let mut statement = connection.prepare_cached("SELECT max(key) FROM logs WHERE key BETWEEN ? AND ?")?;
    let last: Option<i64> = statement.query_row((keys.start(), keys.end()), |row| row.get(0))?;
    Ok(last.map_or(0, |key| schema::place(key).into()))
}

fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
