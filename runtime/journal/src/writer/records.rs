//! Owns how records are written.

use rusqlite::params;

use super::Writer;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::reader::records;
use crate::record::{Expect, Write};

const PUT: &str = "
INSERT INTO records (kind, node, name, value, run, at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET value = excluded.value, run = excluded.run, at = excluded.at";

impl Writer {
    /// Makes all the writes or, when one of them finds something else than it expects, none.
    pub(super) fn write_records(&self, writes: &[Write], run: Option<&RunId>, at: Timestamp) -> Result<()> {
        writes.iter().try_for_each(|write| self.check(write))?;
        writes.iter().try_for_each(|write| self.write_record(write, run, at))
    }

    fn check(&self, write: &Write) -> Result<()> {
        if write.expect == Expect::Any {
            return Ok(());
        }
        let found = records::record(&self.connection, &write.kind, &write.node, &write.name)?;
        let is_expected = match &write.expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::Value(expected) => found.is_some_and(|found| *found.value == **expected),
        };
        if is_expected {
            Ok(())
        } else {
            Err(Error::Conflict { kind: write.kind.clone(), name: write.name.clone() })
        }
    }

    fn write_record(&self, write: &Write, run: Option<&RunId>, at: Timestamp) -> Result<()> {
        let Write { kind, node, name, value, .. } = write;
        match value {
            Some(value) => {
                let run = run.map(RunId::as_str);
                self.connection.prepare_cached(PUT)?.execute(params![kind, node, name, value, run, at.0])?
            }
            None => self
                .connection
                .prepare_cached("DELETE FROM records WHERE kind = ? AND node = ? AND name = ?")?
                .execute([kind, node, name])?,
        };
        Ok(())
    }
}
