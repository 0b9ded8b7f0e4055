//! Owns hearing of events: one reader of the journal tells everybody who listens. It looks when the database was written to,
//! and only while somebody listens. What an event leads to is left to whoever hears it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use effect::Result;
use journal::{Event, Journal};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{sleep, timeout};

/// Events that are kept for a listener that is slow; it finds the others in the journal.
const KEPT: usize = 256;
/// Events of one look.
const PAGE: usize = 200;
/// Between looks after somebody has written: the write is there a moment before it counts.
const CLOSE: Duration = Duration::from_millis(1);
/// How many such looks there are.
const LOOKS: usize = 20;
/// Between looks where nothing wakes us: what the kernel tells may be lost.
const FAR: Duration = Duration::from_millis(500);

/// An event; nothing where listeners have to look into the journal themselves.
type Told = Option<Arc<Event>>;

/// Tells of events; cheap to copy.
#[derive(Debug, Clone)]
pub struct Feed {
    told: broadcast::Sender<Told>,
    journal: Journal,
    wake: Arc<Notify>,
}

/// Hears of events, each once and in order.
#[derive(Debug)]
pub struct Hearing {
    journal: Journal,
    live: broadcast::Receiver<Told>,
    /// The last event that was heard.
    last: u64,
    /// What was missed is read from the journal until nothing is left of it.
    behind: bool,
    page: VecDeque<Event>,
}

impl Feed {
    /// Tells of the events of `journal` until `over` becomes true.
    #[must_use]
    pub fn start(journal: Journal, over: watch::Receiver<bool>) -> Self {
        let feed = Self { told: broadcast::Sender::new(KEPT), journal, wake: Arc::default() };
        tokio::spawn(feed.clone().run(over));
        feed
    }

    /// Hears of every event behind `after`, or from now on.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn listen(&self, after: Option<u64>) -> Result<Hearing> {
        let live = self.told.subscribe();
        self.wake.notify_one();
        let last = match after {
            Some(after) => after,
            None => self.journal.last_event().await?,
        };
        let page = VecDeque::new();
        Ok(Hearing { journal: self.journal.clone(), live, last, behind: true, page })
    }

    async fn run(self, mut over: watch::Receiver<bool>) {
        let _watcher = watch_folder(self.journal.folder(), self.wake.clone());
        let mut last = None;
        let looking = async {
            loop {
                if self.told.receiver_count() == 0 {
                    // Nobody listens: whoever comes wakes us.
                    self.wake.notified().await;
                    last = None;
                    continue;
                }
                let from = match last {
                    Some(last) => last,
                    // Listeners read what was before from the journal.
                    None => match self.journal.last_event().await {
                        Ok(last) => {
                            // One may have looked a moment before this.
                            let _ = self.told.send(None);
                            last
                        }
                        Err(error) => {
                            tracing::warn!(%error, "events cannot be read");
                            sleep(FAR).await;
                            continue;
                        }
                    },
                };
                last = Some(self.look(from).await);
                // An error says that nothing has happened for so long.
                if timeout(FAR, self.wake.notified()).await.is_ok() {
                    last = Some(self.awake(last.unwrap_or(from)).await);
                }
            }
        };
        tokio::select! {
            () = looking => {}
            _ = over.wait_for(|is_over| *is_over) => {}
        }
    }

    /// Looks some times, soon after one another.
    async fn awake(&self, mut last: u64) -> u64 {
        for _ in 0..LOOKS {
            let found = self.look(last).await;
            if found != last {
                return found;
            }
            last = found;
            sleep(CLOSE).await;
        }
        last
    }

    /// Tells of what came behind `last`; the last one now.
    async fn look(&self, mut last: u64) -> u64 {
        loop {
            let found = match self.journal.events(last, PAGE).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "events cannot be read");
                    return last;
                }
            };
            let is_last = found.len() < PAGE;
            for event in found {
                last = event.id;
                // Nobody listens any more: then nobody misses it.
                let _ = self.told.send(Some(Arc::new(event)));
            }
            if is_last {
                return last;
            }
        }
    }
}

impl Hearing {
    /// The next event.
    ///
    /// # Errors
    /// Where the journal cannot be read. What was not heard is heard by the next call.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.page.pop_front() {
                self.last = event.id;
                return Ok(event);
            }
            if self.behind {
                let found = self.journal.events(self.last, PAGE).await?;
                // What came since then is told live: we listen already.
                self.behind = found.len() == PAGE;
                self.page.extend(found);
                continue;
            }
            match self.live.recv().await {
                // A caller may say that it has heard of the last one that there can be.
                Ok(Some(event)) if self.last.checked_add(1) == Some(event.id) => {
                    self.last = event.id;
                    return Ok((*event).clone());
                }
                Ok(Some(event)) if event.id <= self.last => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => self.behind = true,
                // The feed is over: there is nothing more to hear.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

fn watch_folder(folder: &Path, wake: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let heard = move |event: notify::Result<notify::Event>| {
        let is_of_database = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"journal.db"))
        };
        let is_write = |event: &notify::Event| !matches!(event.kind, notify::EventKind::Access(_));
        if event.is_ok_and(|event| is_write(&event) && event.paths.iter().any(is_of_database)) {
            wake.notify_one();
        }
    };
    let watching = notify::recommended_watcher(heard).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watching.inspect_err(|error| tracing::warn!(%error, "events are heard half a second late")).ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use journal::SystemClock;

    use super::*;

    fn journal() -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        (folder, journal)
    }

    async fn heard(hearing: &mut Hearing) -> String {
        timeout(Duration::from_secs(30), hearing.next()).await.unwrap().unwrap().name
    }

    #[tokio::test]
    async fn every_event_is_heard_once_and_in_order_however_slow_the_listener_is() {
        let (_folder, journal) = journal();
        journal.emit("before", "null").await.unwrap();
        let over = watch::Sender::new(false);
        let feed = Feed::start(journal.clone(), over.subscribe());
        let mut now = feed.listen(None).await.unwrap();
        let mut all = feed.listen(Some(0)).await.unwrap();
        assert_eq!(heard(&mut all).await, "before");
        for number in 0..KEPT * 3 {
            journal.emit(&format!("e{number}"), "null").await.unwrap();
        }
        for hearing in [&mut now, &mut all] {
            for number in 0..KEPT * 3 {
                assert_eq!(heard(hearing).await, format!("e{number}"));
            }
        }
    }

    #[tokio::test]
    async fn whoever_is_ahead_of_every_event_hears_of_none() {
        let (_folder, journal) = journal();
        let (told, live) = broadcast::channel(1);
        let event = Event { id: 1, name: "one".into(), data: "null".into(), at: journal.clock().now() };
        told.send(Some(Arc::new(event))).unwrap();
        let mut hearing = Hearing { journal, live, last: u64::MAX, behind: false, page: VecDeque::new() };
        assert!(hearing.next().now_or_never().is_none());
        assert!(hearing.live.is_empty(), "it was looked at");
    }

    #[tokio::test]
    async fn what_another_process_writes_is_heard() {
        let (folder, journal) = journal();
        let over = watch::Sender::new(false);
        let feed = Feed::start(journal, over.subscribe());
        let mut hearing = feed.listen(None).await.unwrap();
        let other = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        other.emit("elsewhere", "{}").await.unwrap();
        assert_eq!(heard(&mut hearing).await, "elsewhere");
    }
}
