//! Owns how entries and log lines are read, in pages that stay small whatever they hold.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::text::{blob, moment, place, word};
use crate::clock::Timestamp;
use crate::entry::{Entry, Identity, Kind, Open, Outcome, Place, Recorded, Status};
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::log::{Log, LogLine};
use crate::schema;
use crate::writer::number;

/// A page ends once the texts in it are longer than this together.
const LARGEST_PAGE: usize = 4 << 20;

const HISTORY: &str = "
SELECT key, scope, counter, name, kind, hash, file, line, status, blob, result
FROM entries WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?";

/// Completed entries beyond `after`, in the order of completion.
pub(crate) fn history(
    connection: &Connection,
    run: &RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<Recorded>> {
    let keys = schema::completed(number(connection, run)?, after);
    let mut statement = connection.prepare_cached(HISTORY)?;
    let mut rows = statement.query((keys.start(), keys.end(), limited(limit)))?;
    let mut page = Vec::with_capacity(limit.min(1024));
    let mut size = 0;
    while let Some(row) = rows.next()?
        && size < LARGEST_PAGE
    {
        let recorded = recorded(connection, row)?;
        size += recorded.outcome.text().map_or(0, str::len);
        page.push(recorded);
    }
    Ok(page)
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

fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
