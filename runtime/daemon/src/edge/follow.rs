//! Owns how the edge keeps up with what others write: it is woken when the database is written to, or when somebody asks,
//! looks, and answers from the new version. What is read and what becomes of it belongs to [`Follow`]; without a database
//! that is what was kept.

mod names;

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use effect::{Code, Error, Result};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{oneshot, watch};

pub(super) use names::Names;

/// Between looks after somebody has written: the write is there a moment before it counts.
const CLOSE: Duration = Duration::from_micros(500);
/// For how long it is looked so often.
const AWAKE: Duration = Duration::from_millis(50);
/// Between looks after that: a disk may take its time between the write and the moment from which it counts, of which
/// the kernel tells nothing.
const NEAR: Duration = Duration::from_millis(4);
/// For how long a disk is waited for like that.
const SLOWEST_DISK: Duration = Duration::from_secs(5);
/// Between looks where nothing wakes us: what the kernel tells may be lost.
const FAR: Duration = Duration::from_millis(500);

/// What is followed.
pub(crate) trait Follow: Send + 'static {
    /// What it is called in the log.
    const WHAT: &'static str;

    /// Takes what was kept, which a database that is lost or damaged says nothing of.
    fn recall(&mut self);

    /// Takes what was written since the last look. A database that could not be read is opened again.
    ///
    /// # Errors
    /// Where it cannot be read; what is known stays.
    fn look(&mut self) -> Result<()>;
}

/// Why the thread looks.
enum Wake {
    /// Somebody has written, or it is over.
    Written,
    /// Somebody wants to know when it has looked.
    Tell(oneshot::Sender<Result<()>>),
}

/// Wakes the thread.
#[derive(Clone)]
pub(crate) struct Waker(Sender<Wake>);

impl Waker {
    /// Has the thread look, and waits until what was written before is taken.
    ///
    /// # Errors
    /// Where the database cannot be read, or nobody follows it any more.
    pub(crate) async fn look(&self) -> Result<()> {
        let over = || Error::new(Code::ProxyUnavailable, "the edge ends").retryable();
        let (tell, told) = oneshot::channel();
        self.0.send(Wake::Tell(tell)).map_err(|_| over())?;
        told.await.map_err(|_| over())?
    }
}

/// The thread that follows.
pub(crate) struct Following {
    waker: Waker,
    loaded: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Following {
    /// Waits until what is known is answered from.
    pub(crate) async fn loaded(&mut self) {
        // Its end is as good: there is nothing more to wait for.
        let _ = (&mut self.loaded).await;
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Has the thread look whether it is over, and waits until what it knows is kept.
    pub(crate) async fn end(self) {
        // It may have ended by itself; a panic was reported by it.
        let _ = self.waker.0.send(Wake::Written);
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

/// Starts to follow.
pub(crate) fn start<F: Follow>(followed: F, state: &Path, over: watch::Receiver<bool>) -> Result<Following> {
    let (wake, woken) = mpsc::channel();
    let (told, loaded) = oneshot::channel();
    let waker = Waker(wake);
    let (state, own) = (state.to_owned(), waker.clone());
    let work = move || follow(followed, &state, &own, &woken, told, &over);
    let thread = thread::Builder::new()
        .name(format!("{}-follow", F::WHAT))
        .spawn(work)
        .map_err(|error| Error::new(Code::Internal, "no thread can be started").because(error))?;
    Ok(Following { waker, loaded, thread })
}

fn follow<F: Follow>(
    mut followed: F,
    state: &Path,
    waker: &Waker,
    woken: &Receiver<Wake>,
    loaded: oneshot::Sender<()>,
    over: &watch::Receiver<bool>,
) {
    followed.recall();
    let _watcher = watch_folder::<F>(state, waker);
    let mut loaded = Some(loaded);
    let mut woken_at: Option<Instant> = None;
    let mut asked = Vec::new();
    let mut is_told = false;
    while !*over.borrow() {
        let looked = followed.look();
        if let Err(error) = &looked
            && !is_told
        {
            tracing::error!(%error, "the database cannot be read; {} go on from what was kept", F::WHAT);
        }
        is_told = looked.is_err();
        for asker in asked.drain(..) {
            // Whoever asked may have given up.
            let _ = oneshot::Sender::send(asker, looked.clone());
        }
        if let Some(loaded) = loaded.take() {
            let _ = loaded.send(());
        }
        let pause = match woken_at.map(|at| at.elapsed()) {
            Some(awake) if awake < AWAKE => CLOSE,
            Some(awake) if awake < SLOWEST_DISK => NEAR,
            _ => FAR,
        };
        let mut wake = match woken.recv_timeout(pause) {
            Ok(wake) => Some(wake),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        while let Some(why) = wake {
            match why {
                Wake::Written => woken_at = Some(Instant::now()),
                Wake::Tell(asker) => asked.push(asker),
            }
            wake = woken.try_recv().ok();
        }
    }
}

/// Is woken by writes to the database. Where the kernel gives no such thing, it is looked now and then all the same.
fn watch_folder<F: Follow>(state: &Path, waker: &Waker) -> Option<notify::RecommendedWatcher> {
    let waker = waker.0.clone();
    let heard = move |event: notify::Result<notify::Event>| {
        let is_of_database = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"journal.db"))
        };
        if event.is_ok_and(|event| event.paths.iter().any(is_of_database)) {
            let _ = waker.send(Wake::Written);
        }
    };
    let watching = notify::recommended_watcher(heard).and_then(|mut watcher| {
        watcher.watch(state, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watching
        .inspect_err(|error| tracing::warn!(%error, "changes of {} are seen half a second late", F::WHAT))
        .ok()
}
