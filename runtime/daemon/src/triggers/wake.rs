//! Owns being woken when somebody has written to the journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// Tells of writes. Where the kernel does not, nobody is woken: whoever waits looks now and then all the same.
pub(super) struct Written {
    heard: Arc<Notify>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Written {
    /// Listens for writes to the database in a state directory.
    pub(super) fn watch(state: &Path) -> Self {
        let heard = Arc::new(Notify::new());
        let tell = heard.clone();
        let is_of_database = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"journal.db"))
        };
        let hear = move |event: notify::Result<notify::Event>| {
            let is_write =
                |event: notify::Event| !event.kind.is_access() && event.paths.iter().any(is_of_database);
            if event.is_ok_and(is_write) {
                tell.notify_one();
            }
        };
        let watching = notify::recommended_watcher(hear).and_then(|mut watcher| {
            watcher.watch(state, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let watcher = watching
            .inspect_err(|error| tracing::warn!(%error, "events start playbooks up to a second late"))
            .ok();
        Self { heard, _watcher: watcher }
    }

    /// Waits for a write, and until `earliest`: writes of one moment are looked at together. A write is not lost where this
    /// is dropped.
    pub(super) async fn wait(&self, earliest: Instant) {
        sleep_until(earliest).await;
        self.heard.notified().await;
    }
}

/// Waits until it is over.
pub(super) async fn ended(shutdown: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, and nobody could say it any more.
    let _ = shutdown.wait_for(|is_over| *is_over).await;
}
