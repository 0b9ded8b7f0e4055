//! Owns how a history is read past finished checkpoints: a whole one is stepped over, however long it is; in one beside
//! which other branches ran, its own entries are left out.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::error::Result;
use crate::schema::{self, LAST_COMPLETED};
use crate::writer::is_within;

/// The finished checkpoints of a run.
pub(super) struct Folds<'a> {
    connection: &'a Connection,
    number: i64,
    /// Those with entries of others between theirs: from, to and scope.
    mixed: Vec<(u32, u32, String)>,
}

impl<'a> Folds<'a> {
    /// What has to be known of them beyond the order `after`.
    pub(super) fn open(connection: &'a Connection, number: i64, after: u64) -> Result<Self> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let mut statement = connection.prepare_cached(
            "SELECT opened, last, scope FROM folds WHERE run = ? AND whole = 0 AND last > ? ORDER BY opened",
        )?;
        let mixed = statement
            .query_map((number, after), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { connection, number, mixed })
    }

    /// The order behind the whole checkpoint in which `after` lies, or `after`.
    pub(super) fn skipped(&self, after: u32) -> Result<u32> {
        let mut statement = self.connection.prepare_cached(
            "SELECT last FROM folds WHERE run = ? AND whole = 1 AND opened <= ? ORDER BY opened DESC LIMIT 1",
        )?;
        let last: Option<u32> = statement.query_row((self.number, after), |row| row.get(0)).optional()?;
        Ok(last.map_or(after, |last| last.max(after)))
    }

    /// The order up to which the history beyond `after` can be read without stepping over anything.
    pub(super) fn until(&self, after: u32) -> Result<u32> {
        let mut statement = self.connection.prepare_cached(
            "SELECT opened FROM folds WHERE run = ? AND whole = 1 AND opened > ? ORDER BY opened LIMIT 1",
        )?;
        let opened: Option<u32> = statement.query_row((self.number, after), |row| row.get(0)).optional()?;
        Ok(opened.unwrap_or(LAST_COMPLETED))
    }

    /// Whether a row that begins with key and scope is folded away among others.
    pub(super) fn hides(&self, row: &Row<'_>) -> Result<bool> {
        if self.mixed.is_empty() {
            return Ok(false);
        }
        let order = schema::place(row.get(0)?);
        let scope = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let holds = |(opened, last, outer): &(u32, u32, String)| {
            *opened < order && order <= *last && is_within(scope, outer)
        };
        Ok(self.mixed.iter().any(holds))
    }
}
