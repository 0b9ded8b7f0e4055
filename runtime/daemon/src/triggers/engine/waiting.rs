//! Owns what waits: it starts when the runs before it are over, the first first. Also what has expired.

use std::collections::HashSet;
use std::time::Duration;

use effect::Result;
use journal::Expect;

use super::Engine;
use crate::playbooks::Overlap;
use crate::triggers::occurrence::write;
use crate::triggers::webhook::deliveries;

/// Between two looks for what has expired.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(3600);
const CHUNK: usize = 500;

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
        for names in expired.chunks(CHUNK) {
            let take_out = |name: &String| write(deliveries::KIND, &self.means.node, name, None, Expect::Any);
            self.write(names.iter().map(take_out).collect()).await?;
        }
        self.swept = Some(now);
        Ok(())
    }
}
