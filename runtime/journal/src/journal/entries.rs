//! Owns what is asked about the effects of a run and its log, and what is written of them.

use serde_json::Value;
use tokio::sync::oneshot;

use super::{Journal, Ticket, writer_is_gone};
use crate::entry::{Begin, Begun, End, Entry, Fold, Later, Open, Recorded};
use crate::error::Result;
use crate::id::RunId;
use crate::log::{Log, LogLine};
use crate::probe;
use crate::reader;
use crate::run::NewRun;
use crate::writer::{Change, Request};

/// Entries.
impl Journal {
    /// Writes that an effect is about to act. Durable on return, with everything that was queued before.
    ///
    /// When the identity has begun already, what was written first stays and is returned.
    pub async fn begin(&self, run: &RunId, begin: Begin) -> Result<Begun> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Begin { run: *run, begin, answer });
        answered.await.unwrap_or_else(|_| Err(writer_is_gone()))
    }

    /// Queues that an effect has ended; the order of calls is the order of completion. It is committed with the next
    /// begin, or alone after the group delay.
    pub fn end(&self, run: &RunId, end: End) -> Ticket {
        self.queue_end(run, end, false)
    }

    /// Queues that an effect has ended and has it committed at once.
    pub fn end_now(&self, run: &RunId, end: End) -> Ticket {
        self.queue_end(run, end, true)
    }

    fn queue_end(&self, run: &RunId, end: End, urgent: bool) -> Ticket {
        let (answer, answered) = oneshot::channel();
        let request = Request::End { run: *run, end, urgent, answer };
        match urgent {
            true => self.send(request),
            false => self.inner.shared.queue().push(request),
        }
        probe::reached("end:enqueued");
        Ticket(answered)
    }

    /// Folds a finished checkpoint away: its entries stay, but no history holds them any more. Durable on return.
    pub async fn fold(&self, run: &RunId, fold: Fold) -> Result<()> {
        self.change(Change::Fold { run: *run, fold }).await
    }

    /// Forgets the history beyond `after_order`, as if the run had been cut there; what was forgotten before stays so.
    /// Entries and log lines stay under scopes that begin with `#` and a number: undo still finds what they changed.
    /// Refused inside of a finished checkpoint. Durable on return.
    pub async fn forget(&self, run: &RunId, after_order: u64) -> Result<()> {
        self.change(Change::Forget { run: *run, after: after_order }).await
    }

    /// Records a run as pending whose history is that of `from` up to `until_order`. What it got that way counts neither
    /// as changed by it nor as its own to undo. Durable on return.
    pub async fn fork(&self, from: &RunId, until_order: u64, run: NewRun, origin: Value) -> Result<()> {
        self.change(Change::Fork { from: *from, until: until_order, run: Box::new(run), origin }).await
    }

    /// Completed entries beyond `after_order`, in the order of completion: at most `limit`, and fewer where they are
    /// large. None at the end only.
    pub async fn history(&self, run: &RunId, after_order: u64, limit: usize) -> Result<Vec<Recorded>> {
        let run = *run;
        self.read(move |connection| reader::entries::history(connection, &run, after_order, limit)).await
    }

    /// The entries that have begun and not ended, in the order in which they began.
    pub async fn open_entries(&self, run: &RunId) -> Result<Vec<Open>> {
        let run = *run;
        self.read(move |connection| reader::entries::open(connection, &run)).await
    }

    /// Entries with everything that is stored: the completed ones beyond `after_order` in the order of completion, at
    /// most `limit` and fewer where they are large; the page after the last of them holds the begun ones, with no order.
    pub async fn entries(&self, run: &RunId, after_order: u64, limit: usize) -> Result<Vec<Entry>> {
        let run = *run;
        self.read(move |connection| reader::entries::entries(connection, &run, after_order, limit)).await
    }

    /// Ensures and acts of a run that changed something, or may have because they did not end; the last first. At most
    /// `limit` and fewer where they are large: begun ones first, then completed ones of an order below `before`.
    pub async fn changed(&self, run: &RunId, before: Option<u64>, limit: usize) -> Result<Vec<Entry>> {
        let run = *run;
        self.read(move |connection| reader::entries::changed(connection, &run, before, limit)).await
    }

    /// The entry with a scope and counter, if there is one.
    pub async fn entry(&self, run: &RunId, scope: &str, counter: u32) -> Result<Option<Entry>> {
        let (run, scope) = (*run, scope.to_owned());
        self.read(move |connection| reader::entries::at(connection, &run, &scope, counter)).await
    }

    /// Ensures of runs made after `run` that changed something or may have: at most `limit`, the first first.
    pub async fn later_changes(&self, run: &RunId, limit: usize) -> Result<Vec<Later>> {
        let run = *run;
        self.read(move |connection| reader::entries::later(connection, &run, limit)).await
    }

    /// Queues a line of a run's log like an end. A line that is stored already is dropped.
    pub fn log(&self, run: &RunId, line: LogLine) {
        self.inner.shared.queue().push(Request::Log { run: *run, line });
    }

    /// At most `limit` lines of a run's log beyond `after`.
    pub async fn logs(&self, run: &RunId, after: u64, limit: usize) -> Result<Vec<Log>> {
        let run = *run;
        self.read(move |connection| reader::entries::logs(connection, &run, after, limit)).await
    }

    /// The place of the last line of a run's log, 0 where it has none.
    pub async fn last_log(&self, run: &RunId) -> Result<u64> {
        let run = *run;
        self.read(move |connection| reader::entries::last_log(connection, &run)).await
    }
}
