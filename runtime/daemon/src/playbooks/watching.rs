//! Owns what is heard of changes: the system's notifications, narrowed to what counts. They only say when to look; what has
//! changed is for the look to find, so that one that is lost does no harm.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Config, EventKind, INotifyWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::folder::{Identity, identity};
use super::ways::Places;

/// More changed files than this are not told apart: all are looked at.
const MOST_HINTS: usize = 10_000;

/// What was heard since the last look.
#[derive(Debug, Clone, Default)]
pub(super) struct Hints {
    /// What changed.
    pub(super) paths: HashSet<PathBuf>,
    /// Whether anything may have.
    pub(super) all: bool,
}

impl Hints {
    pub(super) fn names(&self, path: &std::path::Path) -> bool {
        self.all || self.paths.contains(path)
    }
}

/// What is shared with the thread that hears.
#[derive(Debug, Default)]
pub(super) struct Heard {
    hints: Mutex<Hints>,
    places: Mutex<Arc<Places>>,
    /// Watched folders that were taken away, and their watches with them.
    gone: Mutex<HashSet<PathBuf>>,
    pub(super) wake: Notify,
}

impl Heard {
    /// What was heard since this was last called.
    pub(super) fn take(&self) -> Hints {
        std::mem::take(&mut *locked(&self.hints))
    }

    /// Has everything looked at again.
    pub(super) fn look_at_all(&self) {
        locked(&self.hints).all = true;
        self.wake.notify_one();
    }

    fn hear(&self, event: notify::Result<notify::Event>) {
        let Ok(event) = event else { return self.look_at_all() };
        if event.need_rescan() {
            return self.look_at_all();
        }
        // Reading a file is no change of it; ours is heard as well.
        if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
            return;
        }
        let places = locked(&self.places).clone();
        if matches!(event.kind, EventKind::Remove(_)) {
            let watched = event.paths.iter().filter(|path| places.contains_key(*path)).cloned();
            locked(&self.gone).extend(watched);
        }
        let mut counting = event.paths.into_iter().filter(|path| counts(&places, path)).peekable();
        if counting.peek().is_none() {
            return;
        }
        let mut hints = locked(&self.hints);
        hints.paths.extend(counting);
        if hints.paths.len() > MOST_HINTS {
            *hints = Hints { paths: HashSet::new(), all: true };
        }
        drop(hints);
        self.wake.notify_one();
    }
}

fn counts(places: &Places, path: &std::path::Path) -> bool {
    // A watched folder itself: it was taken away, or its permissions were changed.
    let itself = || places.contains_key(path);
    let within = || {
        let names = places.get(path.parent()?)?;
        Some(names.as_ref().is_none_or(|names| path.file_name().is_some_and(|name| names.contains(name))))
    };
    within().unwrap_or(false) || itself()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folders that are watched.
#[derive(Debug)]
pub(super) struct Watching {
    heard: Arc<Heard>,
    /// None where the system has none to give: then there is only the look from time to time.
    watcher: Option<INotifyWatcher>,
    /// Each with what tells it from another in its place.
    watched: BTreeMap<PathBuf, Identity>,
    /// Whether it was said that something cannot be watched.
    has_warned: bool,
}

impl Watching {
    pub(super) fn new(heard: Arc<Heard>) -> Self {
        let hears = heard.clone();
        let watcher = INotifyWatcher::new(move |event| hears.hear(event), Config::default());
        let mut watching = Self { heard, watcher: None, watched: BTreeMap::new(), has_warned: false };
        match watcher {
            Ok(watcher) => watching.watcher = Some(watcher),
            Err(error) => watching.warn(&error),
        }
        watching
    }

    fn warn(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(%error, "folders of playbooks cannot be watched and are only looked at from time to time");
        }
    }

    /// Watches these from now on; true where one is new, which may have changed before.
    pub(super) fn set(&mut self, places: Places) -> bool {
        let Some(mut watcher) = self.watcher.take() else { return false };
        let mut is_new = false;
        let gone = std::mem::take(&mut *locked(&self.heard.gone));
        for folder in places.keys() {
            let identity = identity(folder);
            if identity.is_some() && self.watched.get(folder) == identity.as_ref() && !gone.contains(folder) {
                continue;
            }
            if self.watched.remove(folder).is_some() {
                // The one that lay there before; mostly its watch is gone with it.
                let _ = watcher.unwatch(folder);
            }
            let Some(identity) = identity else { continue };
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    is_new = true;
                    self.watched.insert(folder.clone(), identity);
                }
                // It was taken away just now, which is heard of where it lay.
                Err(error) if identity_is_gone(folder, &error) => {}
                Err(error) => self.warn(&error),
            }
        }
        self.watched.retain(|folder, _| {
            let stays = places.contains_key(folder);
            if !stays {
                let _ = watcher.unwatch(folder);
            }
            stays
        });
        self.watcher = Some(watcher);
        *locked(&self.heard.places) = Arc::new(places);
        is_new
    }
}

fn identity_is_gone(folder: &std::path::Path, error: &notify::Error) -> bool {
    matches!(error.kind, notify::ErrorKind::PathNotFound) || identity(folder).is_none()
}
