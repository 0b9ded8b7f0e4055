//! Owns reading what is recorded of a run in the order in which it happened: effects and lines of the log side by side, page
//! by page.

use std::collections::VecDeque;

use api::v1;
use api::v1::watch_run_response::Told as Message;
use effect::Result;
use journal::{Entry, Journal, Log, Run, RunId};

use crate::api::convert;

/// Of each kind in a page.
const PAGE: usize = 200;

/// What is still to be told.
#[derive(Debug)]
pub(super) struct Recorded {
    sources: VecDeque<Message>,
    entries: Pages<Entry>,
    logs: Pages<Log>,
}

/// What is read of one kind.
#[derive(Debug)]
struct Pages<T> {
    /// The order of the last one that was told.
    told: u64,
    /// The order of the last one that was read.
    read: u64,
    page: VecDeque<T>,
    is_whole: bool,
}

impl<T> Pages<T> {
    fn behind(known: u64) -> Self {
        Self { told: known, read: known, page: VecDeque::new(), is_whole: false }
    }
}

impl Recorded {
    /// What lies behind the places that are known.
    pub(super) fn behind((entries, logs): (u64, u64)) -> Self {
        Self { sources: VecDeque::new(), entries: Pages::behind(entries), logs: Pages::behind(logs) }
    }

    /// Everything, the sources first.
    pub(super) async fn with_sources(journal: &Journal, run: &Run) -> Result<Self> {
        let modules = journal.sources(&run.id).await?;
        let own = (run.name.clone(), run.source.to_string());
        let sources = std::iter::once(own).chain(modules);
        let sources = sources.map(|(name, source)| Message::Module(v1::RunModule { name, source })).collect();
        Ok(Self { sources, ..Self::behind((0, 0)) })
    }

    /// Up to where effects and lines were told.
    pub(super) fn known(&self) -> (u64, u64) {
        (self.entries.told, self.logs.told)
    }

    /// The next one; none when everything was told.
    pub(super) async fn next(&mut self, journal: &Journal, run: &RunId) -> Result<Option<Message>> {
        if let Some(source) = self.sources.pop_front() {
            return Ok(Some(source));
        }
        self.fill(journal, run).await?;
        let (entry, log) = (self.entries.page.front(), self.logs.page.front());
        let is_entry_first = match (entry, log) {
            (Some(entry), Some(log)) => entry.ended_at.is_some_and(|at| at <= log.line.at),
            (entry, _) => entry.is_some(),
        };
        if is_entry_first {
            let entry = self.entries.page.pop_front();
            return Ok(entry.map(|entry| {
                self.entries.told = entry.order.unwrap_or(self.entries.told);
                convert::ended(&entry)
            }));
        }
        Ok(self.logs.page.pop_front().map(|log| {
            self.logs.told = log.order;
            convert::line(&log)
        }))
    }

    async fn fill(&mut self, journal: &Journal, run: &RunId) -> Result<()> {
        if self.entries.page.is_empty() && !self.entries.is_whole {
            let found = journal.entries(run, self.entries.read, PAGE).await?;
            // Behind the last that is over come those that are not: these are told as they end.
            let over: VecDeque<Entry> = found.into_iter().filter(|entry| entry.order.is_some()).collect();
            self.entries.is_whole = over.is_empty();
            self.entries.read = over.back().and_then(|entry| entry.order).unwrap_or(self.entries.read);
            self.entries.page = over;
        }
        if self.logs.page.is_empty() && !self.logs.is_whole {
            let found: VecDeque<Log> = journal.logs(run, self.logs.read, PAGE).await?.into();
            self.logs.is_whole = found.is_empty();
            self.logs.read = found.back().map_or(self.logs.read, |log| log.order);
            self.logs.page = found;
        }
        Ok(())
    }
}
