//! Owns how records are read.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::RunId;
use crate::record::{Look, Record};

/// The records of a kind, of one node or of all.
pub(crate) fn records(connection: &Connection, kind: &str, node: Option<&str>) -> Result<Vec<Record>> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, node, name, value, run, at FROM records WHERE kind = ?1 AND (?2 IS NULL OR node = ?2)
         ORDER BY node, name",
    )?;
    let rows = statement.query_map((kind, node), read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The records of a kind on a node whose names begin with `prefix`.
pub(crate) fn beneath(connection: &Connection, kind: &str, node: &str, prefix: &str) -> Result<Vec<Record>> {
    // Nothing that begins with the prefix comes behind the prefix and the last character there is.
    let mut statement = connection.prepare_cached(
        "SELECT kind, node, name, value, run, at FROM records
         WHERE kind = ?1 AND node = ?2 AND name >= ?3 AND name < ?3 || char(0x10FFFF)
         ORDER BY name",
    )?;
    let rows = statement.query_map((kind, node, prefix), read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What each of `looks` finds, all as of the same moment.
pub(crate) fn look(connection: &Connection, node: &str, looks: &[Look]) -> Result<Vec<Vec<Record>>> {
    let moment = connection.unchecked_transaction()?;
    let found = looks.iter().map(|look| match look {
        Look::One { kind, name } => Ok(record(&moment, kind, node, name)?.into_iter().collect()),
        Look::Beneath { kind, prefix } => beneath(&moment, kind, node, prefix),
    });
    found.collect()
}

/// One record.
pub(crate) fn record(connection: &Connection, kind: &str, node: &str, name: &str) -> Result<Option<Record>> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, node, name, value, run, at FROM records WHERE kind = ? AND node = ? AND name = ?",
    )?;
    Ok(statement.query_row((kind, node, name), read).optional()?)
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    let run: Option<String> = row.get("run")?;
    Ok(Record {
        kind: row.get("kind")?,
        node: row.get("node")?,
        name: row.get("name")?,
        value: row.get("value")?,
        run: run.and_then(|run| run.parse::<RunId>().ok()),
        at: Timestamp(row.get("at")?),
    })
}
