//! Owns finding the runs that are recorded and that nobody goes on with: at the start, and every now and then.

use std::collections::HashSet;
use std::time::Duration;

use effect::session::Kept;
use effect::{Code, Error, Result};
use journal::{RunId, RunState};

use super::{Executor, Known, Ready, Stage};
use crate::execute::ear::Asked;
use crate::execute::going;
use crate::execute::many::BY_THEMSELVES;
use crate::execute::waiting::{self, Waiting};
use crate::execute::wished;

/// How long a run that may ask questions is left to whoever answered them, when this process has just begun: they come back
/// by themselves.
const COMING_BACK: Duration = Duration::from_secs(20);

impl Executor<'_> {
    /// Queues every run that can go on by itself and that nobody goes on with.
    pub(super) async fn find(&mut self, is_start: bool) -> Result<()> {
        let app = self.app;
        self.check_journal()?;
        self.known.retain(|_, known| !matches!(known.stage, Stage::Watched) || !known.relay.is_alone());
        let found = match app.journal.runs_in(BY_THEMSELVES).await {
            Err(error) if going::passes(app, &Error::from(error.clone())) => return Ok(()),
            found => found?,
        };
        self.notice_ends(&found);
        let before = std::mem::take(&mut self.fresh);
        for (run, state) in found {
            let is_here = self.known.get(&run).is_some_and(|known| !matches!(known.stage, Stage::Watched));
            if is_here || self.hopeless.contains(&run) || app.journal.holder_of_run(&run).is_some() {
                continue;
            }
            if state == RunState::Pending && !is_start && !before.contains(&run) {
                self.fresh.insert(run);
                continue;
            }
            if let Err(error) = self.take_up(run, state, is_start).await {
                self.check_journal()?;
                tracing::warn!(%run, %error, "a run that was found cannot be gone on with");
                if !going::passes(app, &error) {
                    self.hopeless.insert(run);
                }
            }
        }
        Ok(())
    }

    /// Goes on with a run as it is recorded: with what it held and how it was taken.
    async fn take_up(&mut self, id: RunId, state: RunState, is_start: bool) -> Result<()> {
        let app = self.app;
        let run = app.journal.run(id.as_str()).await?;
        if state == RunState::Waiting {
            self.wait(Waiting::found(app, &run).await?);
            return Ok(());
        }
        let kept = match state {
            RunState::Running => waiting::held(app, &id).await,
            _ => Kept::default(),
        };
        let ready = Ready { kept, wish: wished::of(&run), ..Ready::new(id) };
        match is_start && ready.wish.asks {
            true => self.put_off(COMING_BACK, ready),
            false => self.queue(ready),
        }
        Ok(())
    }

    /// A process whose journal could not be synced must end.
    pub(super) fn check_journal(&self) -> Result<()> {
        if self.app.journal.broken() {
            return Err(Error::new(Code::JournalBroken, "the journal is out of use, and this process ends"));
        }
        Ok(())
    }

    /// Those that wait here and were ended by somebody else meanwhile.
    fn notice_ends(&mut self, going: &[(RunId, RunState)]) {
        let going: HashSet<&RunId> = going.iter().map(|(run, _)| run).collect();
        let waits = |(run, known): (&RunId, &Known)| {
            (matches!(known.stage, Stage::Waiting) && !going.contains(run)).then_some(*run)
        };
        let ended: Vec<RunId> = self.known.iter().filter_map(waits).collect();
        for run in ended {
            if let Some(ready) = self.take_out(&run) {
                self.begin(ready, Asked::NOTHING);
            }
        }
    }
}
