//! Owns events: what somebody tells to whatever run waits for it.

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::RunId;
use crate::writer::number;

/// How long an event is kept for runs that will ask for it.
const KEPT_MILLIS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its number: later ones have greater ones.
    pub id: u64,
    /// What happened, `db.ready`.
    pub name: String,
    /// What was told with it, as JSON.
    pub data: String,
    /// When it was told.
    pub at: Timestamp,
}

/// Writes an event down, and forgets those that are too old to be asked for.
pub(crate) fn emit(connection: &Connection, name: &str, data: &str, at: Timestamp) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM events WHERE at < ?")?
        .execute([at.0.saturating_sub(KEPT_MILLIS)])?;
    connection
        .prepare_cached("INSERT INTO events (name, data, at) VALUES (?, ?, ?)")?
        .execute((name, data, at.0))?;
    Ok(())
}

/// The id of the last event.
pub(crate) fn last(connection: &Connection) -> Result<u64> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(id), 0) FROM events")?;
    Ok(statement.query_row([], |row| row.get::<_, i64>(0))?.cast_unsigned())
}

/// At most `limit` events beyond the id `after`.
pub(crate) fn beyond(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Event>> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection
        .prepare_cached("SELECT id, name, data, at FROM events WHERE id > ? ORDER BY id LIMIT ?")?;
    let rows = statement.query_map([after, limit], read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        id: row.get::<_, i64>(0)?.cast_unsigned(),
        name: row.get(1)?,
        data: row.get(2)?,
        at: Timestamp(row.get(3)?),
    })
}

const FIRST: &str = "
SELECT id, name, data, at FROM events
WHERE name = :name AND id > max(:after, (SELECT seen FROM runs WHERE number = :run))
ORDER BY id LIMIT 1";

/// The first event of a name beyond the id `after` that came after the run was made.
pub(crate) fn first(connection: &Connection, run: &RunId, name: &str, after: u64) -> Result<Option<Event>> {
    let run = number(connection, run)?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(FIRST)?;
    let parameters = named_params! { ":name": name, ":after": after, ":run": run };
    Ok(statement.query_row(parameters, read).optional()?)
}
