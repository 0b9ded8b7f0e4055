//! Owns the epochs of leases: how they rise, and how an older one is told from the present one.

use rusqlite::{OptionalExtension, params};

use super::Writer;
use crate::clock::Timestamp;
use crate::entry::Fence;
use crate::error::{Error, Result};
use crate::id::RunId;

const TAKE: &str = "
INSERT INTO leases (node, service, epoch, run, at) VALUES (?, ?, 1, ?, ?)
ON CONFLICT DO UPDATE SET epoch = epoch + 1, run = excluded.run, at = excluded.at
RETURNING epoch";

impl Writer {
    pub(super) fn take_lease(
        &mut self,
        run: &RunId,
        node: &str,
        service: &str,
        at: Timestamp,
    ) -> Result<u64> {
        let mut take = self.connection.prepare_cached(TAKE)?;
        let epoch: i64 = take.query_row(params![node, service, run.as_str(), at.0], |row| row.get(0))?;
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO held (run, node, service) VALUES (?, ?, ?)")?
            .execute([run.as_str(), node, service])?;
        Ok(epoch.unsigned_abs())
    }

    /// Refuses what is done under a lease that somebody else has taken since.
    pub(super) fn check_fence(&self, fence: Option<&Fence>) -> Result<()> {
        let Some(Fence { node, service, epoch }) = fence else { return Ok(()) };
        let mut statement =
            self.connection.prepare_cached("SELECT epoch, run FROM leases WHERE node = ? AND service = ?")?;
        let last = statement
            .query_row([node, service], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
            .optional()?;
        match last {
            Some((last, _)) if last.unsigned_abs() == *epoch => Ok(()),
            last => Err(Error::Fenced { service: service.clone(), run: last.map(|(_, run)| run) }),
        }
    }
}
