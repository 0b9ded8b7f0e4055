//! Owns what those ask of the journal who watch from the side: monitors, figures, traces.

use super::Journal;
use crate::audit;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::RunId;
use crate::lock::{self, Holder};
use crate::reader;
use crate::record::Write;
use crate::run::RunState;
use crate::writer::Change;

/// Who took the lease of a service last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastLease {
    /// How often it was taken.
    pub epoch: u64,
    /// By which run; it may be gone since.
    pub run: String,
    /// When.
    pub at: Timestamp,
}

impl Journal {
    /// Tells that things happened, each by its name and data as JSON, and changes records together with that: all or
    /// nothing. Durable on return.
    pub async fn tell(&self, events: Vec<(String, String)>, writes: Vec<Write>) -> Result<()> {
        self.change(Change::Tell { events, writes, audits: Vec::new() }).await
    }

    /// The same, with records of the audit that are there together with the change, or not at all.
    pub async fn tell_audited(
        &self,
        events: Vec<(String, String)>,
        writes: Vec<Write>,
        audits: Vec<audit::New>,
    ) -> Result<()> {
        self.change(Change::Tell { events, writes, audits }).await
    }

    /// Who took the lease of each service of a node last, by service.
    pub async fn last_leases(&self, node: &str) -> Result<Vec<(String, LastLease)>> {
        let node = node.to_owned();
        self.read_committed(move |connection| reader::runs::last_leases(connection, &node)).await
    }

    /// Who holds the lease of a service now, if anybody does.
    #[must_use]
    pub fn holder_of_lease(&self, node: &str, service: &str) -> Option<Holder> {
        lock::holder_of_lease(&self.locks(), node, service)
    }

    /// How many runs there are in each state.
    pub async fn count_runs(&self) -> Result<Vec<(RunState, u64)>> {
        self.read_committed(reader::runs::count).await
    }

    /// The runs that ended after the moment and run given, by the time of their end: at most `limit`.
    pub async fn ended_after(
        &self,
        moment: Timestamp,
        run: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, Timestamp)>> {
        self.read_committed(move |connection| {
            reader::runs::ended_after(connection, moment, run.as_ref(), limit)
        })
        .await
    }

    /// How large the database is on the disk, with what waits to be moved into it.
    #[must_use]
    pub fn size(&self) -> u64 {
        let length = |path: &std::path::Path| path.metadata().map_or(0, |found| found.len());
        length(self.database()) + length(&self.database().with_extension("db-wal"))
    }
}
