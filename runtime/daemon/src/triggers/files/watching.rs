//! Owns what the kernel is asked to tell of, and what it has told.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::scan;
use crate::playbooks::{Identity, OnFile, identity};

/// Changes that wait to be looked at; of more it is only known that there are some.
const MOST_HEARD: usize = 1024;

/// What was heard and not asked for yet, shared with the thread that hears.
#[derive(Debug, Default)]
pub(super) struct Heard {
    said: Mutex<Said>,
    /// The folders that are watched, each with which one it is, and how: another one may have taken its name.
    watched: Mutex<HashMap<PathBuf, (Identity, RecursiveMode)>>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Said {
    paths: HashSet<PathBuf>,
    /// Whether anything may have changed.
    all: bool,
}

impl Heard {
    fn hear(&self, event: notify::Result<notify::Event>) {
        let event = match event {
            Ok(event) if event.kind.is_access() => return,
            Ok(event) if !event.need_rescan() => event,
            // What is lost may be that a watched folder is gone: all of them are watched anew.
            _ => {
                locked(&self.watched).clear();
                return self.say(|said| said.all = true);
            }
        };
        // The watch of a folder goes with it, and what lies there then may be of its number, or itself come back.
        if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
            let is_gone = |folder: &PathBuf| event.paths.iter().any(|path| folder.starts_with(path));
            locked(&self.watched).retain(|folder, _| !is_gone(folder));
        }
        self.say(|said| {
            said.paths.extend(event.paths);
            if said.paths.len() > MOST_HEARD {
                *said = Said { paths: HashSet::new(), all: true };
            }
        });
    }

    fn say(&self, what: impl FnOnce(&mut Said)) {
        what(&mut locked(&self.said));
        self.wake.notify_one();
    }

    /// The next changes; no paths where it is not known what has changed.
    pub(super) async fn changed(&self) -> Vec<PathBuf> {
        loop {
            self.wake.notified().await;
            let said = std::mem::take(&mut *locked(&self.said));
            if said.all {
                return Vec::new();
            }
            if !said.paths.is_empty() {
                return said.paths.into_iter().collect();
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the files of a trigger are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// As they were.
    Same,
    /// From now on: what changed before was not heard.
    Anew,
    /// Not, or not all of them.
    Not,
}

/// The folders that are watched. Everything here may wait for a disk.
#[derive(Debug)]
pub(super) struct Watching {
    watcher: Option<RecommendedWatcher>,
    heard: Arc<Heard>,
}

impl Watching {
    pub(super) fn start(heard: Arc<Heard>) -> Self {
        locked(&heard.watched).clear();
        let hears = heard.clone();
        let watcher = notify::recommended_watcher(move |event| hears.hear(event))
            .inspect_err(|error| tracing::warn!(%error, "changes of files are seen up to five seconds late"))
            .ok();
        Self { watcher, heard }
    }

    /// Has the files of a trigger watched.
    pub(super) fn cover(&mut self, on: &OnFile) -> notify::Result<Cover> {
        let (above, own) = scan::folders(on);
        let mut is_new = self.watch(&above, RecursiveMode::NonRecursive)?;
        if let Some(own) = own {
            is_new |= self.watch(&own, RecursiveMode::Recursive)?;
        }
        let how = if is_new { Cover::Anew } else { Cover::Same };
        Ok(if scan::is_there(on) { how } else { Cover::Not })
    }

    /// Whether it was not watched before.
    fn watch(&mut self, folder: &Path, how: RecursiveMode) -> notify::Result<bool> {
        let Some(watcher) = &mut self.watcher else { return Err(notify::Error::generic("no watcher")) };
        let Some(now) = identity(folder) else { return Err(notify::Error::path_not_found()) };
        {
            let mut watched = locked(&self.heard.watched);
            if let Some((before, mode)) = watched.get(folder)
                && *before == now
                && (*mode == how || *mode == RecursiveMode::Recursive)
            {
                return Ok(false);
            }
            // Before it is: what is heard of it then takes it out again.
            watched.insert(folder.to_owned(), (now, how));
        }
        // One that is gone is watched no longer, which is what is wanted.
        let _ = watcher.unwatch(folder);
        if let Err(error) = watcher.watch(folder, how) {
            locked(&self.heard.watched).remove(folder);
            return Err(error);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use notify::Event;
    use notify::event::{CreateKind, Flag, RemoveKind};

    use super::*;

    fn created(path: &str) -> notify::Result<Event> {
        Ok(Event::new(EventKind::Create(CreateKind::File)).add_path(PathBuf::from(path)))
    }

    #[tokio::test]
    async fn of_more_than_is_kept_it_is_known_that_anything_may_have_changed() {
        let heard = Heard::default();
        for number in 0..MOST_HEARD {
            heard.hear(created(&format!("/a/{number}")));
        }
        assert_eq!(heard.changed().await.len(), MOST_HEARD);
        for number in 0..=MOST_HEARD {
            heard.hear(created(&format!("/a/{number}")));
        }
        heard.hear(created("/b"));
        assert_eq!(heard.changed().await, Vec::<PathBuf>::new());
        heard.hear(created("/b"));
        assert_eq!(heard.changed().await, [PathBuf::from("/b")]);
    }

    #[test]
    fn a_folder_that_is_gone_or_may_be_is_watched_anew() {
        let folder = tempfile::tempdir().unwrap();
        let beneath = folder.path().join("beneath");
        std::fs::create_dir(&beneath).unwrap();
        let on = OnFile { path: beneath.join("*.toml"), settle: Duration::ZERO };
        let mut watching = Watching::start(Arc::default());
        let heard = watching.heard.clone();
        assert_eq!(watching.cover(&on).unwrap(), Cover::Anew);
        assert_eq!(watching.cover(&on).unwrap(), Cover::Same);
        let removed = Event::new(EventKind::Remove(RemoveKind::Folder)).add_path(folder.path().to_owned());
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        for event in [removed, lost] {
            heard.hear(Ok(event));
            assert_eq!(watching.cover(&on).unwrap(), Cover::Anew);
            assert_eq!(watching.cover(&on).unwrap(), Cover::Same);
        }
        std::fs::remove_dir(&beneath).unwrap();
        assert_eq!(watching.cover(&on).unwrap(), Cover::Not);
    }
}
