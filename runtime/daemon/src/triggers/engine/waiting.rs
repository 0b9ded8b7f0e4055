//! Owns what waits: it starts when the runs before it are over, the first first. Also what need not be remembered any more.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use effect::{Result, Timestamp};
use journal::{Expect, Look, Write};

use super::Engine;
use super::memory::{CHUNK, take_out};
use crate::playbooks::Overlap;
use crate::triggers::occurrence::{KEPT, KEPT_MILLIS, KIND, by_hand, write};
use crate::triggers::webhook::deliveries;

/// Between two looks for what has expired.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(3600);
/// Of how many playbooks the starts by hand are read at once.
const AT_ONCE: usize = 100;

impl Engine {
    /// Starts what waits for nothing any more.
    pub(super) async fn drain(&mut self) -> Result<()> {
        let playbooks: Vec<String> = self.memory.queues.keys().cloned().collect();
        if playbooks.is_empty() {
            self.memory.cancelled.clear();
        }
        for playbook in playbooks {
            let unfinished = self.means.journal.unfinished_of(&playbook).await?;
            if unfinished.is_empty() {
                self.start_next(&playbook).await?;
            } else if self.overlap(&playbook) == Some(Overlap::Replace) {
                let unfinished: HashSet<_> = unfinished.into_iter().collect();
                for run in unfinished {
                    if self.memory.cancelled.insert(run)
                        && let Err(error) = self.means.runs.cancel(&run).await
                    {
                        // It may be over by now; else it is waited for.
                        tracing::debug!(%run, %error, "a run that is replaced was not cancelled");
                    }
                }
            }
        }
        Ok(())
    }

    async fn start_next(&mut self, playbook: &str) -> Result<()> {
        let Some(queued) = self.memory.queues.get(playbook).and_then(|queue| queue.front()).cloned() else {
            return Ok(());
        };
        if self.overlap(playbook).is_none() {
            return self.leave_out(queued, "the playbook is gone").await;
        }
        self.start_queued(queued).await.map(drop)
    }

    fn overlap(&self, playbook: &str) -> Option<Overlap> {
        let table = self.means.table.borrow();
        table.playbooks.get(playbook).map(|playbook| playbook.definition.overlap)
    }

    /// Takes out what need not be remembered any more.
    pub(super) async fn sweep(&mut self) -> Result<()> {
        let now = self.now();
        if self.swept.is_some_and(|swept| now.since(swept) < BETWEEN_SWEEPS && swept <= now) {
            return Ok(());
        }
        let expired = deliveries::expired(&self.means.journal, &self.means.node, now).await?;
        let take_out_delivery =
            |name: &String| write(deliveries::KIND, &self.means.node, name, None, Expect::Any);
        self.write_all(expired.iter().map(take_out_delivery).collect()).await?;
        let oldest = Timestamp(now.0.saturating_sub(KEPT_MILLIS));
        let old = self.memory.before(oldest);
        self.write_all(old.iter().map(|name| take_out(&self.means.node, name)).collect()).await?;
        self.memory.forget(&old);
        self.sweep_by_hand(oldest).await?;
        self.swept = Some(now);
        Ok(())
    }

    /// Starts by hand are recorded by whoever makes them: that they are not too many is seen to here.
    async fn sweep_by_hand(&mut self, oldest: Timestamp) -> Result<()> {
        let table = self.means.table.borrow().clone();
        let playbooks: BTreeSet<&String> = table.playbooks.keys().chain(&self.memory.by_hand).collect();
        let playbooks: Vec<String> = playbooks.into_iter().cloned().collect();
        for playbooks in playbooks.chunks(AT_ONCE) {
            let look = |playbook: &String| Look::Beneath { kind: KIND.to_owned(), prefix: by_hand(playbook) };
            let found =
                self.means.journal.look(&self.means.node, playbooks.iter().map(look).collect()).await?;
            let mut writes = Vec::new();
            for (playbook, records) in playbooks.iter().zip(found) {
                let too_many = records.len().saturating_sub(KEPT);
                // Sorted by their time.
                let (gone, left): (Vec<_>, Vec<_>) = records
                    .into_iter()
                    .enumerate()
                    .partition(|(place, record)| *place < too_many || record.at < oldest);
                writes.extend(gone.iter().map(|(_, record)| take_out(&self.means.node, &record.name)));
                if left.is_empty() {
                    self.memory.by_hand.remove(playbook);
                }
            }
            self.write_all(writes).await?;
        }
        Ok(())
    }

    async fn write_all(&self, writes: Vec<Write>) -> Result<()> {
        for writes in writes.chunks(CHUNK) {
            self.write(writes.to_vec()).await?;
        }
        Ok(())
    }
}
