//! Owns how the edge keeps up with what others write: it is woken when the database is written to, looks, and answers
//! from the new version. Without a database it answers from what it kept.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use dns::embedded::Feed;
use dns::server::Snapshot;
use effect::{Code, Error, Result};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{oneshot, watch};

use super::Edge;
use super::kept::{self, Keeper};

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

/// The thread that follows.
pub(super) struct Following {
    wake: Sender<()>,
    loaded: oneshot::Receiver<()>,
}

impl Following {
    /// Waits until what is known is answered from.
    pub(super) async fn loaded(&mut self) {
        // Its end is as good: there is nothing more to wait for.
        let _ = (&mut self.loaded).await;
    }

    /// Has the thread look whether it is over.
    pub(super) fn end(self) {
        let _ = self.wake.send(());
    }
}

/// Starts to follow.
pub(super) fn start(edge: &Arc<Edge>, over: watch::Receiver<bool>) -> Result<Following> {
    let (wake, woken) = mpsc::channel();
    let (told, loaded) = oneshot::channel();
    let waker = wake.clone();
    let edge = edge.clone();
    let work = move || follow(&edge, &waker, &woken, told, &over);
    thread::Builder::new()
        .name("dns-follow".into())
        .spawn(work)
        .map_err(|error| Error::new(Code::Internal, "no thread can be started").because(error))?;
    Ok(Following { wake, loaded })
}

fn follow(
    edge: &Edge,
    waker: &Sender<()>,
    woken: &Receiver<()>,
    loaded: oneshot::Sender<()>,
    over: &watch::Receiver<bool>,
) {
    let parts = &edge.parts;
    let folder = super::folder(&parts.state);
    // A database that is lost or damaged says nothing of these.
    parts.service.put(kept::load(&folder));
    let _watcher = watch_folder(&parts.state, waker);
    let mut loaded = Some(loaded);
    let mut feed = None;
    let mut woken_at: Option<Instant> = None;
    let keeper = Keeper::start(&folder, &parts.service)
        .inspect_err(|error| tracing::error!(%error, "no zone is kept for a start without the database"))
        .ok();
    let mut is_told = false;
    while !*over.borrow() {
        match look(edge, &mut feed) {
            Ok(Some(snapshot)) => {
                parts.service.put(snapshot);
                parts.notifier.look(&parts.service.snapshot());
                keeper.iter().for_each(Keeper::changed);
                is_told = false;
            }
            Ok(None) => is_told = false,
            Err(error) => {
                feed = None;
                if !is_told {
                    tracing::error!(%error, "the zones cannot be read; those that were kept are answered from");
                    is_told = true;
                }
            }
        }
        if let Some(loaded) = loaded.take() {
            let _ = loaded.send(());
        }
        let pause = match woken_at.map(|at| at.elapsed()) {
            Some(awake) if awake < AWAKE => CLOSE,
            Some(awake) if awake < SLOWEST_DISK => NEAR,
            _ => FAR,
        };
        match woken.recv_timeout(pause) {
            Ok(()) => {
                while woken.try_recv().is_ok() {}
                woken_at = Some(Instant::now());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What was written since the last look; a database that could not be read is opened again.
fn look(edge: &Edge, feed: &mut Option<Feed>) -> Result<Option<Snapshot>> {
    let parts = &edge.parts;
    let feed = match feed {
        Some(feed) => feed,
        None => feed.insert(Feed::open(&parts.state, &parts.node)?),
    };
    feed.look(&parts.service.snapshot())
}

/// Is woken by writes to the database. Where the kernel gives no such thing, it is looked now and then all the same.
fn watch_folder(state: &Path, waker: &Sender<()>) -> Option<notify::RecommendedWatcher> {
    let waker = waker.clone();
    let heard = move |event: notify::Result<notify::Event>| {
        let is_of_database = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"journal.db"))
        };
        if event.is_ok_and(|event| event.paths.iter().any(is_of_database)) {
            let _ = waker.send(());
        }
    };
    let watching = notify::recommended_watcher(heard).and_then(|mut watcher| {
        watcher.watch(state, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watching.inspect_err(|error| tracing::warn!(%error, "changes of zones are seen half a second late")).ok()
}
