//! Owns every change of the database: whatever requests have arrived are applied in one transaction, which is committed
//! once, and then answered.
//!
//! A thread does that, because a commit must not hold up others who could join the next one. Where nobody else is at
//! work the sender of a request commits on its own thread: two hand-overs between threads cost more than the commit.
//!
//! A request that is refused for a reason of its own (a conflict, an unknown run) is refused before it changes
//! anything, so the rest of its group goes on; any error of the database undoes the group whole.

mod cache;
mod entries;
mod folds;
mod history;
mod leases;
mod lost;
mod records;
mod request;
mod runs;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;

pub(crate) use self::cache::number;
pub(crate) use self::entries::{inlined, put_blob};
pub(crate) use self::folds::is_within;
pub(crate) use self::request::{Change, Request};
pub(crate) use self::runs::KIND_OF_PLANS;

use self::cache::Cached;
use self::lost::Lost;
use self::request::Reply;
use crate::audit::{self, HeadFile};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::event;
use crate::id::RunId;
use crate::probe;
use crate::queue::Queue;

/// SQLite's own choice: about 4 MB of log, which a later open reads in a few milliseconds.
const PAGES_BEFORE_CHECKPOINT: u32 = 1000;
/// A shorter log is left for the next open, which reads it in less time than the syncs of a checkpoint take: a short
/// command stays short.
const PAGES_LEFT_AT_CLOSE: u32 = 200;

/// The writer, which its thread and whoever commits on its own thread take in turns.
pub(crate) struct Shared {
    writer: Mutex<Option<Writer>>,
    queue: Queue,
}

impl Shared {
    /// Opens the writer; nothing is committed before [`start`] or [`Shared::commit_here`].
    pub(crate) fn new(
        opened: (Connection, &Path),
        clock: &Arc<dyn Clock>,
        broken: &Arc<AtomicBool>,
    ) -> Result<Arc<Self>> {
        let writer = Writer::new(opened, clock.clone(), broken.clone())?;
        Ok(Arc::new(Self { writer: Mutex::new(Some(writer)), queue: Queue::default() }))
    }

    /// The requests.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Commits what waits on the calling thread, unless the writer is at work already: then that will do it.
    pub(crate) fn commit_here(&self) {
        let Ok(mut writer) = self.writer.try_lock() else {
            self.queue.wake();
            return;
        };
        if let Some(writer) = writer.as_mut() {
            writer.process(self.queue.take());
            self.queue.settle();
            if writer.is_checkpoint_due() {
                self.queue.wake();
            }
        }
    }

    fn commit_all(&self) {
        let mut writer = self.writer.lock().expect("after a panic in a commit nobody may go on");
        let writer = writer.as_mut().expect("only the end of this thread closes the writer");
        writer.process(self.queue.take());
        self.queue.settle();
        writer.checkpoint_when_due();
    }

    fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.close();
        }
    }
}

/// Starts the writer's thread; it ends when the queue is closed and empty.
pub(crate) fn start(shared: &Arc<Shared>, delay: Duration) -> Result<JoinHandle<()>> {
    let shared = shared.clone();
    let thread = Builder::new().name("journal-writer".into()).spawn(move || {
        let _release = ReleaseWaiting(&shared.queue);
        while shared.queue.wait(delay) {
            shared.commit_all();
        }
        shared.close();
    });
    thread.map_err(|error| Error::Sqlite(format!("no thread for the writer: {error}")))
}

/// Lets everybody who waits know that the writer is gone, a panic included.
struct ReleaseWaiting<'a>(&'a Queue);

impl Drop for ReleaseWaiting<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

struct Writer {
    connection: Connection,
    clock: Arc<dyn Clock>,
    /// Shared with the handles, which only look whether it is set.
    broken: Arc<AtomicBool>,
    /// Why it is.
    cause: Option<Error>,
    runs: HashMap<RunId, Cached>,
    lost: Lost,
    /// Changes when another connection has committed: then `runs` may be out of date.
    seen_version: i64,
    /// Pages in the log, as the last commit left it.
    logged_pages: Arc<AtomicU32>,
    /// Where the end of the audit is told beside the database.
    told_beside: HeadFile,
    /// The end of the audit, where the open group moves it.
    audited: Option<audit::Head>,
}

impl Writer {
    fn new(
        (mut connection, database): (Connection, &Path),
        clock: Arc<dyn Clock>,
        broken: Arc<AtomicBool>,
    ) -> Result<Self> {
        let logged_pages = Arc::new(AtomicU32::new(0));
        let counted = logged_pages.clone();
        // The hook takes the place of SQLite's own, so that no commit checkpoints.
        connection.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            counted.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            connection,
            clock,
            broken,
            cause: None,
            runs: HashMap::new(),
            lost: Lost::default(),
            seen_version: 0,
            logged_pages,
            told_beside: HeadFile::beside(database),
            audited: None,
        })
    }

    fn process(&mut self, group: Vec<Request>) {
        if group.is_empty() {
            return;
        }
        if let Some(error) = &self.cause {
            group.into_iter().for_each(|request| request.fail(error));
            return;
        }
        match self.commit(&group) {
            Ok(replies) => {
                for (request, reply) in group.into_iter().zip(replies) {
                    request.answer(reply);
                }
            }
            Err(error) => self.undo(group, &error),
        }
    }

    fn commit(&mut self, group: &[Request]) -> Result<Vec<Result<Reply>>> {
        let at = self.clock.now();
        self.audited = None;
        self.execute("BEGIN IMMEDIATE")?;
        self.forget_what_others_changed()?;
        let mut replies = Vec::with_capacity(group.len());
        for request in group {
            match self.apply(request, at) {
                Err(error) if !error.is_of_one_request() => return Err(error),
                reply => replies.push(reply),
            }
        }
        group.iter().for_each(|request| probe::reached(request.points().0));
        self.execute("COMMIT")?;
        group.iter().for_each(|request| probe::reached(request.points().1));
        if let Some(head) = self.audited.take() {
            self.told_beside.advance(&self.connection, head);
        }
        Ok(replies)
    }

    fn apply(&mut self, request: &Request, at: Timestamp) -> Result<Reply> {
        match request {
            Request::Begin { run, begin, .. } => self.begin(run, begin, at).map(Reply::Begun),
            Request::End { run, end, .. } => self.end(run, end, at).map(|()| Reply::Done),
            Request::Lease { run, node, service, .. } => {
                self.take_lease(run, node, service, at).map(Reply::Epoch)
            }
            Request::Log { run, line } => self.log(run, line).map(|()| Reply::Done),
            Request::Audit { new, .. } => self.audit(new, at).map(|()| Reply::Done),
            Request::Change { change, .. } => self.change(change, at).map(|()| Reply::Done),
        }
    }

    fn change(&mut self, change: &Change, at: Timestamp) -> Result<()> {
        match change {
            Change::CreateRun(run, audit) => {
                self.create_run(run, at)?;
                audit.iter().try_for_each(|new| self.audit(new, at))
            }
            Change::SetState { run, state, outcome, exit_code } => {
                self.set_state(run, *state, outcome.as_ref(), *exit_code, at)
            }
            Change::SetGrants { run, grants } => self.set_grants(run, grants),
            Change::SetWish { run, wish } => self.set_wish(run, wish.as_ref()),
            Change::ReleasePlan(run) => self.release_plan(run),
            Change::RequestCancel(run) => self.request_cancel(run),
            Change::Pin { run, module, source } => self.pin(run, module, source),
            Change::Forget { run, after } => self.forget(run, *after, at),
            Change::Fork { from, until, run, origin } => self.fork(from, *until, run, origin, at),
            Change::Fold { run, fold } => self.fold(run, fold),
            Change::Emit { name, data } => event::emit(&self.connection, name, data, at),
            Change::Tell { events, writes, audits } => {
                self.write_records(writes, None, at)?;
                audits.iter().try_for_each(|new| self.audit(new, at))?;
                events.iter().try_for_each(|(name, data)| event::emit(&self.connection, name, data, at))
            }
            Change::Write(writes) => self.write_records(writes, None, at),
            Change::Barrier => self.lost.check_all(),
            Change::Settle => Ok(()),
        }
    }

    /// Appends to the audit.
    fn audit(&mut self, new: &audit::New, at: Timestamp) -> Result<()> {
        self.audited = Some(audit::append(&self.connection, new, at)?);
        Ok(())
    }

    /// Undoes the group and tells everybody in it.
    fn undo(&mut self, group: Vec<Request>, error: &Error) {
        tracing::warn!(%error, requests = group.len(), "a group was not committed");
        if !self.connection.is_autocommit()
            && let Err(undoing) = self.execute("ROLLBACK")
        {
            tracing::warn!(error = %undoing, "the group could not be rolled back");
        }
        self.runs.clear();
        if matches!(error, Error::Broken(_)) {
            self.give_up(error);
        }
        for request in group {
            if let Request::End { run, end, .. } = &request {
                self.lost.add(*run, &end.identity, error);
            }
            request.fail(error);
        }
    }

    fn give_up(&mut self, error: &Error) {
        self.broken.store(true, Ordering::Relaxed);
        self.cause = Some(error.clone());
    }

    /// Drops what is remembered of runs when another process has written since.
    fn forget_what_others_changed(&mut self) -> Result<()> {
        let version = self
            .connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get::<_, i64>(0))?;
        if version != self.seen_version {
            self.seen_version = version;
            self.runs.clear();
        }
        Ok(())
    }

    fn execute(&self, statement: &str) -> Result<()> {
        self.connection.prepare_cached(statement)?.execute([])?;
        Ok(())
    }

    /// Checkpoints after the answers, so that nobody waits for it, and here rather than inside a commit, where SQLite
    /// would swallow a failed sync.
    fn checkpoint_when_due(&mut self) {
        if !self.is_checkpoint_due() {
            return;
        }
        self.logged_pages.store(0, Ordering::Relaxed);
        let checkpoint = self
            .connection
            .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")
            .and_then(|mut statement| statement.query_row([], |_| Ok(())));
        // No room or a busy reader leaves the log as it is, for the next time.
        if let Err(error) = checkpoint.map_err(Error::from) {
            tracing::warn!(%error, "a checkpoint failed");
            if matches!(error, Error::Broken(_)) {
                self.give_up(&error);
            }
        }
    }

    fn is_checkpoint_due(&self) -> bool {
        self.logged_pages.load(Ordering::Relaxed) >= PAGES_BEFORE_CHECKPOINT
    }

    fn close(self) {
        let leave = self.logged_pages.load(Ordering::Relaxed) <= PAGES_LEFT_AT_CLOSE;
        if let Err(error) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave) {
            tracing::debug!(%error, "the log is checkpointed at the close");
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the journal was not closed cleanly");
        }
    }
}

#[cfg(test)]
mod tests;
