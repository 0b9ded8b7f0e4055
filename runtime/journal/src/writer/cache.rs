//! Owns what the writer remembers of a run, so that a durable step needs no look-up.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::Writer;
use crate::entry::Identity;
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::schema::{self, LAST_COMPLETED, place};

/// A run as the open transaction sees it.
pub(super) struct Cached {
    /// The run's number, the upper half of its keys.
    pub(super) number: i64,
    /// The place of the last completed entry.
    pub(super) completed: u32,
    /// How many of the completed entries changed something.
    pub(super) changes: u32,
    /// The place of the last begun entry.
    pub(super) begun: u32,
    /// The place of the last log line.
    pub(super) logged: u32,
    /// The places of the entries that have begun and not ended.
    pub(super) open: HashMap<Identity, u32>,
}

impl Writer {
    /// What is remembered of a run, read when it is not.
    pub(super) fn cached(&mut self, run: &RunId) -> Result<&mut Cached> {
        if !self.runs.contains_key(run) {
            let cached = Cached::read(&self.connection, run)?;
            self.runs.insert(*run, cached);
        }
        Ok(self.runs.get_mut(run).expect("it was inserted above when it was not there"))
    }
}

impl Cached {
    fn read(connection: &Connection, run: &RunId) -> Result<Self> {
        let number = number(connection, run)?;
        let open = open(connection, number)?;
        let (completed, changes) = last_entry(connection, number)?;
        let begun = open.values().copied().max().unwrap_or(LAST_COMPLETED);
        Ok(Self { number, completed, changes, begun, logged: last_line(connection, number)?, open })
    }
}

/// The number of a run; an error when there is no such run.
pub(crate) fn number(connection: &Connection, run: &RunId) -> Result<i64> {
    let mut statement = connection.prepare_cached("SELECT number FROM runs WHERE id = ?")?;
    let number = statement.query_row([run.as_str()], |row| row.get(0)).optional()?;
    number.ok_or_else(|| Error::UnknownRun { given: run.to_string() })
}

fn open(connection: &Connection, number: i64) -> Result<HashMap<Identity, u32>> {
    let keys = schema::begun(number);
    let mut statement = connection
        .prepare_cached("SELECT key, scope, counter, name FROM entries WHERE key BETWEEN ? AND ?")?;
    let rows = statement.query_map([keys.start(), keys.end()], |row| {
        let identity = Identity { scope: row.get(1)?, counter: row.get(2)?, name: row.get(3)? };
        Ok((identity, place(row.get(0)?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn last_entry(connection: &Connection, number: i64) -> Result<(u32, u32)> {
    let keys = schema::completed(number, 0);
    let mut statement = connection.prepare_cached(
        "SELECT key, changes FROM entries WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1",
    )?;
    let last = statement
        .query_row([keys.start(), keys.end()], |row| Ok((place(row.get(0)?), row.get(1)?)))
        .optional()?;
    Ok(last.unwrap_or_default())
}

fn last_line(connection: &Connection, number: i64) -> Result<u32> {
    let keys = schema::logged(number, 0);
    let mut statement = connection
        .prepare_cached("SELECT key FROM logs WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1")?;
    let last = statement.query_row([keys.start(), keys.end()], |row| Ok(place(row.get(0)?))).optional()?;
    Ok(last.unwrap_or_default())
}
