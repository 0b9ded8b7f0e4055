//! Owns the handle on the journal: what the rest of the program calls.

mod copy;
mod entries;
mod locks;
mod observed;
mod runs;
mod sweep;
mod transfer;

pub use self::copy::{DATABASE_VERSION, Inspected, holder_of_daemon, inspect, rest_unfinished};
pub use self::observed::LastLease;
pub use self::sweep::{Retention, Swept};
pub use self::transfer::{Part, Span};

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::audit;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::{self, Event};
use crate::id::RunId;
use crate::reader::{self, Reader};
use crate::record::{Look, Record, Write};
use crate::schema;
use crate::writer::{self, Change, Request};

/// How the journal goes about its work.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long an end may wait for a begin to be committed with.
    pub group_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { group_delay: Duration::from_millis(2) }
    }
}

/// The journal of one state directory. Clones share it; when the last one goes, what is queued is committed.
///
/// Futures of this type may be dropped at any time: what was asked for happens all the same.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    database: PathBuf,
    clock: Arc<dyn Clock>,
    shared: Arc<writer::Shared>,
    /// How many runs and how many effects are under way.
    working: [AtomicUsize; 2],
    broken: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
    reader: Mutex<Option<Reader>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        *self.reader.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        self.shared.queue().close();
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been reported by its thread; every request was answered.
            let _ = writer.join();
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("folder", &self.inner.folder).finish_non_exhaustive()
    }
}

/// What becomes of an end that was queued. It may be dropped: the end is committed all the same.
#[derive(Debug)]
#[must_use = "an end may be refused; drop the ticket on purpose if somebody else waits for it"]
pub struct Ticket(oneshot::Receiver<Result<()>>);

impl Ticket {
    /// Waits until the end is durable.
    pub async fn durable(self) -> Result<()> {
        self.await
    }
}

impl Future for Ticket {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(writer_is_gone())))
    }
}

impl Journal {
    /// Opens the journal in `folder`, making what is not there.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_with(folder, clock, Options::default())
    }

    /// Opens the journal in `folder` with `options`.
    pub fn open_with(folder: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Self> {
        // Absolute, because SQLite reads a name that begins with `file:` as an address.
        let folder = std::path::absolute(folder).map_err(|error| Error::unusable(folder, &error))?;
        let (connection, database) = schema::open(&folder)?;
        let broken = Arc::new(AtomicBool::new(false));
        let shared = writer::Shared::new((connection, &database), &clock, &broken)?;
        let writer = Some(writer::start(&shared, options.group_delay)?);
        let (working, reader) = (Default::default(), Mutex::new(None));
        let inner = Inner { folder, database, clock, shared, working, broken, writer, reader };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether a write or sync has failed, so that this process must stop.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.inner.broken.load(Ordering::Relaxed)
    }

    /// The clock that the journal was given.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    fn database(&self) -> &Path {
        &self.inner.database
    }

    /// The state directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// An id for a run that is made now.
    pub fn next_id(&self) -> Result<RunId> {
        let mut chance = [0; 4];
        rustix::rand::getrandom(&mut chance, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::Unusable { path: "/dev/urandom".into(), cause: errno.to_string() })?;
        Ok(RunId::new(self.inner.clock.now(), u32::from_ne_bytes(chance)))
    }

    /// Waits until everything that was queued is durable; an error when an end was lost.
    pub async fn barrier(&self) -> Result<()> {
        self.change(Change::Barrier).await
    }
}

/// Events.
impl Journal {
    /// Tells that something happened, with `data` as JSON. Durable on return.
    pub async fn emit(&self, name: &str, data: &str) -> Result<()> {
        self.change(Change::Emit { name: name.to_owned(), data: data.to_owned() }).await
    }

    /// The id of the last event, 0 before the first.
    pub async fn last_event(&self) -> Result<u64> {
        self.read_committed(event::last).await
    }

    /// At most `limit` events beyond the id `after`, the first first. Cheap enough to be asked again and again.
    pub async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>> {
        self.read_committed(move |connection| event::beyond(connection, after, limit)).await
    }

    /// The first event of a name beyond the id `after` that came after the run was made. Cheap enough to be asked again
    /// and again.
    pub async fn event(&self, run: &RunId, name: &str, after: u64) -> Result<Option<Event>> {
        let (run, name) = (*run, name.to_owned());
        self.read_committed(move |connection| event::first(connection, &run, &name, after)).await
    }
}

/// The audit.
impl Journal {
    /// Queues a record of the audit. It joins the commit of whatever is asked for behind it, or goes alone after the group
    /// delay: what it allows is never there without it.
    pub fn audit(&self, new: audit::New) -> Ticket {
        let (answer, answered) = oneshot::channel();
        self.inner.shared.queue().push(Request::Audit { new: Box::new(new), answer });
        Ticket(answered)
    }

    /// At most `limit` records of the audit beyond the number `after`, the first first.
    pub async fn audited(
        &self,
        filter: audit::Filter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<audit::Record>> {
        self.settle().await?;
        self.read(move |connection| audit::records(connection, &filter, after, limit)).await
    }

    /// Who had a run recorded, as the audit tells; nothing where it does not.
    pub async fn starter(&self, run: &RunId) -> Result<Option<String>> {
        let run = *run;
        self.read(move |connection| audit::starter(connection, &run)).await
    }

    /// Walks the chain of the audit; `earlier` is a hash that it must go through.
    pub async fn verify_audit(&self, earlier: Option<audit::Hash>) -> Result<audit::Verified> {
        self.settle().await?;
        // Before the walk: what is appended meanwhile moves it on.
        let beside = audit::HeadFile::beside(self.database()).told();
        self.read(move |connection| audit::verify(connection, beside, earlier)).await
    }
}

/// Records.
impl Journal {
    /// The records of a kind, of one node or of all, sorted by node and name.
    pub async fn records(&self, kind: &str, node: Option<&str>) -> Result<Vec<Record>> {
        let (kind, node) = (kind.to_owned(), node.map(str::to_owned));
        self.read(move |connection| reader::records::records(connection, &kind, node.as_deref())).await
    }

    /// What each of `looks` finds on a node, all as of the same moment; sorted by name.
    pub async fn look(&self, node: &str, looks: Vec<Look>) -> Result<Vec<Vec<Record>>> {
        let node = node.to_owned();
        self.read(move |connection| reader::records::look(connection, &node, &looks)).await
    }

    /// One record.
    pub async fn record(&self, kind: &str, node: &str, name: &str) -> Result<Option<Record>> {
        let (kind, node, name) = (kind.to_owned(), node.to_owned(), name.to_owned());
        self.read(move |connection| reader::records::record(connection, &kind, &node, &name)).await
    }

    /// One record as it is committed, without waiting for what is queued: for what runs do not write.
    pub async fn committed_record(&self, kind: &str, node: &str, name: &str) -> Result<Option<Record>> {
        let (kind, node, name) = (kind.to_owned(), node.to_owned(), name.to_owned());
        self.read_committed(move |connection| reader::records::record(connection, &kind, &node, &name)).await
    }

    /// Changes records outside any run, all or none. Durable on return.
    pub async fn write(&self, writes: Vec<Write>) -> Result<()> {
        self.change(Change::Write(writes)).await
    }
}

/// What may be under way beside others of its kind, each of which asks for commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A run.
    Run,
    /// An effect.
    Effect,
}

/// Something that is under way, see [`Journal::working`].
#[must_use = "it counts as ended when this is dropped"]
pub struct Working(Arc<Inner>, Work);

impl fmt::Debug for Working {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Working").field(&self.1).finish()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// The ways to the writer and the reader.
impl Journal {
    /// Counts a run or an effect as being under way until the guard is dropped. While there is no other of its kind,
    /// nobody could join a commit, so it is made at once on the thread that asks for it.
    pub fn working(&self, on: Work) -> Working {
        self.inner.working[on as usize].fetch_add(1, Ordering::Relaxed);
        Working(self.inner.clone(), on)
    }

    /// Whether nobody could join a commit that is asked for now.
    fn is_alone(&self) -> bool {
        self.inner.working.iter().all(|count| count.load(Ordering::Relaxed) <= 1)
    }

    /// Sends a request whose answer is waited for.
    fn send(&self, request: Request) {
        let shared = &self.inner.shared;
        if self.is_alone() {
            shared.queue().push_quietly(request);
            shared.commit_here();
        } else {
            shared.queue().push(request);
        }
    }

    async fn change(&self, change: Change) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Change { change, answer });
        answered.await.unwrap_or_else(|_| Err(writer_is_gone()))
    }

    /// Reads what is committed, once everything queued so far is. What a broken journal holds can still be shown.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.inner.shared.queue().is_settled() {
            self.settle().await?;
        }
        self.read_committed(query).await
    }

    /// Has everything that is queued committed, unless the journal is broken.
    async fn settle(&self) -> Result<()> {
        match self.change(Change::Settle).await {
            Ok(()) | Err(Error::Broken(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn read_committed<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.ask_reader(Box::new(move |connection| {
            // Nobody waits any more: then nobody needs the answer.
            let _ = answer.send(query(connection));
        }))?;
        answered.await.unwrap_or_else(|_| Err(Error::Sqlite("the reader is gone".into())))
    }

    fn ask_reader(&self, query: reader::Query) -> Result<()> {
        let mut reader = self.inner.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if reader.is_none() {
            *reader = Some(Reader::start(&self.inner.database)?);
        }
        reader.as_ref().expect("it was started above").ask(query);
        Ok(())
    }
}

fn writer_is_gone() -> Error {
    Error::Broken("the writer is gone".into())
}
