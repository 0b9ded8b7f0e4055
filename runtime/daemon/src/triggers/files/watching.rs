//! Owns what the kernel is asked to tell of.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use effect::{Code, Error};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::scan;
use crate::playbooks::OnFile;

/// Changes that wait to be looked at; of more it is only known that there are some.
const MOST_HEARD: usize = 1024;

/// The folders that are watched.
pub(super) struct Watching {
    watcher: Option<RecommendedWatcher>,
    heard: mpsc::Receiver<Vec<PathBuf>>,
    /// Each with which folder it was, and how: another one may have taken its name.
    watched: HashMap<PathBuf, ((u64, u64), RecursiveMode)>,
}

impl Watching {
    pub(super) fn start() -> Self {
        let (tell, heard) = mpsc::channel(MOST_HEARD);
        let hear = move |event: notify::Result<notify::Event>| {
            let paths = match event {
                Ok(event) if event.kind.is_access() => return,
                Ok(event) if event.need_rescan() => Vec::new(),
                Ok(event) => event.paths,
                Err(_) => Vec::new(),
            };
            // Where there are so many, those before it have everything looked at; the look now and then does the rest.
            let _ = tell.try_send(paths);
        };
        let watcher = notify::recommended_watcher(hear)
            .inspect_err(|error| tracing::warn!(%error, "changes of files are seen up to five seconds late"))
            .ok();
        Self { watcher, heard, watched: HashMap::new() }
    }

    /// The next changes; no paths where it is not known what has changed.
    pub(super) async fn changed(&mut self) -> Vec<PathBuf> {
        match self.heard.recv().await {
            Some(mut paths) => {
                while let Ok(more) = self.heard.try_recv() {
                    if paths.is_empty() || more.is_empty() {
                        paths.clear();
                    } else {
                        paths.extend(more);
                    }
                }
                paths
            }
            None => std::future::pending().await,
        }
    }

    /// Has the files of a trigger watched. Whether they are.
    pub(super) fn cover(&mut self, on: &OnFile, is_told: &mut bool) -> bool {
        let (above, own) = scan::folders(on);
        let mut covered = self.watch(&above, RecursiveMode::NonRecursive);
        if let Some(own) = own
            && covered.is_ok()
        {
            covered = self.watch(&own, RecursiveMode::Recursive);
        }
        match covered {
            Ok(()) => {
                *is_told = false;
                scan::is_there(on)
            }
            Err(error) => {
                if !std::mem::replace(is_told, true) {
                    let shown = on.path.display();
                    let error =
                        Error::new(Code::FileWatch, format!("`{shown}` cannot be watched")).because(error);
                    tracing::warn!(%error, "changes are seen up to five seconds late");
                }
                false
            }
        }
    }

    fn watch(&mut self, folder: &Path, how: RecursiveMode) -> notify::Result<()> {
        let Some(watcher) = &mut self.watcher else { return Err(notify::Error::generic("no watcher")) };
        let metadata = std::fs::metadata(folder).map_err(notify::Error::io)?;
        let now = (metadata.dev(), metadata.ino());
        if let Some((before, mode)) = self.watched.get(folder)
            && *before == now
            && (*mode == how || *mode == RecursiveMode::Recursive)
        {
            return Ok(());
        }
        // One that is gone is watched no longer, which is what is wanted.
        let _ = watcher.unwatch(folder);
        watcher.watch(folder, how)?;
        self.watched.insert(folder.to_owned(), (now, how));
        Ok(())
    }
}
