//! Owns how finished checkpoints are folded away. Leaves skipping what is folded to the reader.

use rusqlite::params;

use super::Writer;
use super::entries::inlined;
use crate::entry::Fold;
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::schema;

const BACKWARDS: &str =
    "SELECT key, scope, counter, name FROM entries WHERE key BETWEEN ? AND ? ORDER BY key DESC";

impl Writer {
    pub(super) fn fold(&mut self, run: &RunId, fold: &Fold) -> Result<()> {
        let cached = self.cached(run)?;
        let (number, last) = (cached.number, cached.completed);
        let (opened, whole) = self.opened(number, last, fold)?;
        let (blob, result) = inlined(&self.connection, &fold.result)?;
        self.connection
            .prepare_cached("UPDATE entries SET blob = ?, result = ? WHERE key = ?")?
            .execute(params![blob, result, schema::key(number, opened)])?;
        // What was folded within is so as part of this one.
        self.connection
            .prepare_cached("DELETE FROM folds WHERE run = ? AND opened > ? AND (?3 OR scope = ?4 OR instr(scope, ?4 || '/') = 1)")?
            .execute(params![number, opened, whole, fold.inner])?;
        self.connection
            // Branches that finish one checkpoint at the same time find it unfinished, all of them: the last one counts.
            .prepare_cached(
                "INSERT OR REPLACE INTO folds (run, opened, last, scope, whole) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![number, opened, last, fold.inner, whole])?;
        Ok(())
    }

    /// The order of the entry that opened the checkpoint, and whether nothing but the checkpoint's own entries follows.
    fn opened(&self, number: i64, last: u32, fold: &Fold) -> Result<(u32, bool)> {
        let mut statement = self.connection.prepare_cached(BACKWARDS)?;
        let keys = schema::completed(number, 0);
        let mut rows = statement.query((keys.start(), schema::key(number, last)))?;
        let mut whole = true;
        while let Some(row) = rows.next()? {
            let scope = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            let is_opened = scope == fold.opened.scope
                && row.get::<_, u32>(2)? == fold.opened.counter
                && row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)? == fold.opened.name;
            if is_opened {
                return Ok((schema::place(row.get(0)?), whole));
            }
            whole &= is_within(scope, &fold.inner);
        }
        Err(Error::Conflict { kind: "checkpoint".into(), name: fold.opened.to_string() })
    }
}

/// Whether `scope` is `outer` or lies beneath it.
pub(crate) fn is_within(scope: &str, outer: &str) -> bool {
    scope.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
