//! Owns the time of hot reload: when folders are looked at, when files are read, and when what was read takes its place.
//! What a look finds is left to `look`, what becomes of it to `state`, what is written down to `keep`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use journal::Clock;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::keep::{Keep, Restored};
use super::loader::{Loader, Mistake, Parts, Text};
use super::look::{Ask, Changed, Found, Memory};
use super::settings::Settings;
use super::state::State;
use super::table::Table;
use super::watching::Heard;

/// Where files never rest, they are looked at so long after the first change.
const LONGEST_UNREST: Duration = Duration::from_secs(1);
/// How many files are read at once.
const AT_ONCE: usize = 8;
/// What was read takes its place so long after, although other files are still being read.
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// The same at the start, when nothing is active yet.
const LONGEST_START: Duration = Duration::from_secs(5);
/// When it is tried again to write down what could not be; twice as long after each further time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A file whose reading has come to its end.
type Outcome = (Changed, Result<Parts, Mistake>);

/// Keeps the table as the folders are.
pub struct Keeper {
    state: State,
    keep: Keep,
    loader: Arc<dyn Loader>,
    clock: Arc<dyn Clock>,
    /// None while a look is under way.
    memory: Option<Memory>,
    heard: Arc<Heard>,
    table: watch::Sender<Arc<Table>>,
    loaded: watch::Sender<bool>,
    settings: watch::Receiver<Settings>,
    looking: Option<JoinHandle<(Memory, Found)>>,
    /// Whether something was heard since the last look.
    is_moving: bool,
    /// When to look, since nothing has changed for a while; and when at the latest.
    quiet_at: Option<Instant>,
    latest_at: Option<Instant>,
    waiting: VecDeque<Changed>,
    reading: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// When what was read takes its place.
    commit_at: Option<Instant>,
    pause: Duration,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Keeper {
    #[expect(clippy::too_many_arguments, reason = "what the shelf has made for it, once")]
    pub(super) fn new(
        keep: Keep,
        loader: Arc<dyn Loader>,
        clock: Arc<dyn Clock>,
        memory: Memory,
        heard: Arc<Heard>,
        table: watch::Sender<Arc<Table>>,
        loaded: watch::Sender<bool>,
        settings: watch::Receiver<Settings>,
    ) -> Self {
        Self {
            state: State::default(),
            keep,
            loader,
            clock,
            memory: Some(memory),
            heard,
            table,
            loaded,
            settings,
            looking: None,
            is_moving: false,
            quiet_at: None,
            latest_at: None,
            waiting: VecDeque::new(),
            reading: FuturesUnordered::new(),
            commit_at: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Takes over what was active when the last daemon ended.
    pub(super) async fn restore(&mut self, restored: Vec<Restored>) {
        match self.keep.history().failed().await {
            Ok(failed) => self.state.remember_failed(failed),
            Err(error) => tracing::warn!(%error, "it is not known which playbooks were broken"),
        }
        for restored in restored {
            let definition = match restored.active.definition() {
                Some(definition) => Ok(definition),
                None => {
                    let text = Text {
                        root: restored.active.root.clone(),
                        name: restored
                            .active
                            .version
                            .sources
                            .first()
                            .map(|own| own.name.clone())
                            .unwrap_or_default(),
                        source: restored.source.clone(),
                        modules: restored.modules.clone(),
                    };
                    self.loader.load(&text).await.map(|parts| parts.definition)
                }
            };
            match definition {
                Ok(definition) => self.state.restore(restored, definition, &self.keep.program),
                Err(mistake) => {
                    let (name, error) = (&restored.active.name, &mistake.error);
                    tracing::warn!(playbook = %name, %error, "the version that was active cannot be read any more");
                }
            }
        }
    }

    /// Keeps the table until `over` becomes true.
    pub async fn keep(mut self, mut over: watch::Receiver<bool>) {
        self.look(false);
        self.commit_at = Some(Instant::now() + LONGEST_START);
        loop {
            let poll_at = Instant::now() + self.settings.borrow().poll.0;
            let mut is_due = false;
            tokio::select! {
                _ = over.wait_for(|is_over| *is_over) => return,
                () = self.heard.wake.notified() => self.heard_something(),
                () = maybe(self.look_at()), if self.looking.is_none() => self.look_now(),
                () = sleep_until(poll_at), if self.looking.is_none() => self.look(false),
                found = looked(&mut self.looking) => self.found(found),
                Some(outcome) = self.reading.next(), if !self.reading.is_empty() => self.read(outcome),
                () = maybe(self.commit_at) => is_due = true,
            }
            self.go_on_reading();
            let is_changed = self.state.is_changed() || !*self.loaded.borrow();
            if is_due || (is_changed && self.is_idle()) {
                self.commit().await;
            }
        }
    }

    fn settle(&self) -> Duration {
        self.settings.borrow().settle.0
    }

    fn is_idle(&self) -> bool {
        self.reading.is_empty() && self.waiting.is_empty() && self.looking.is_none()
    }

    fn heard_something(&mut self) {
        let now = Instant::now();
        self.is_moving = true;
        self.quiet_at = Some(now + self.settle());
        self.latest_at.get_or_insert(now + LONGEST_UNREST.max(self.settle()));
    }

    fn look_at(&self) -> Option<Instant> {
        self.quiet_at.into_iter().chain(self.latest_at).min()
    }

    fn look_now(&mut self) {
        let is_restless = self.quiet_at.is_some_and(|quiet| quiet > Instant::now());
        self.look(is_restless);
    }

    /// Looks at everything, on a thread of its own.
    fn look(&mut self, is_restless: bool) {
        let Some(mut memory) = self.memory.take() else { return };
        (self.quiet_at, self.latest_at, self.is_moving) = (None, None, false);
        {
            let settings = self.settings.borrow();
            memory.folders.clone_from(&settings.folders);
            self.state.only_in(&settings.folders);
            self.keep.keeps(settings.versions);
        }
        let ask = Ask { inputs: self.state.inputs(), hints: self.heard.take(), is_restless };
        self.state.is_restless = is_restless;
        self.looking = Some(tokio::task::spawn_blocking(move || {
            let found = memory.look(&ask);
            (memory, found)
        }));
    }

    fn found(&mut self, found: Option<(Memory, Found)>) {
        self.looking = None;
        let Some((memory, found)) = found else {
            return tracing::error!("folders of playbooks are looked at no longer: a look has failed");
        };
        self.memory = Some(memory);
        let now = Instant::now();
        if found.is_unsettled {
            self.look_again_at(now + self.settle());
        }
        for change in self.state.found(found, now) {
            self.waiting.push_back(change);
        }
        if let Some(at) = self.state.look_again_at.take() {
            self.look_again_at(at);
        }
        if self.commit_at.is_none() && self.state.is_changed() {
            self.commit_at = Some(now + LONGEST_WAIT);
        }
    }

    fn look_again_at(&mut self, at: Instant) {
        self.quiet_at = Some(self.quiet_at.map_or(at, |quiet| quiet.min(at)));
    }

    fn go_on_reading(&mut self) {
        while self.reading.len() < AT_ONCE {
            let Some(changed) = self.waiting.pop_front() else { return };
            let loader = self.loader.clone();
            self.reading.push(Box::pin(async move {
                let result = match &changed.text {
                    Ok(text) => loader.load(text).await,
                    Err(error) => Err(Mistake::from(error.clone())),
                };
                (changed, result)
            }));
        }
    }

    fn read(&mut self, (changed, result): Outcome) {
        let now = Instant::now();
        // What is being written to is read again before anybody is told that it is broken.
        if let Some(next) = self.state.read(changed, result, self.is_moving, now) {
            self.waiting.push_back(next);
        }
        if let Some(at) = self.state.look_again_at.take() {
            self.look_again_at(at);
        }
        if self.state.is_changed() {
            self.commit_at.get_or_insert(now + LONGEST_WAIT);
        }
    }

    /// Writes down what has changed, then puts it in its place as a whole.
    async fn commit(&mut self) {
        self.commit_at = None;
        let next = self.state.next(&self.keep, self.clock.now());
        if let Err(error) = self.keep.write(&next.change).await {
            tracing::error!(%error, "what was loaded stays active");
            self.table.send_replace(Arc::new(self.state.refused(&next, &error)));
            self.loaded.send_replace(true);
            self.commit_at = Some(Instant::now() + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            return;
        }
        self.pause = FIRST_PAUSE;
        let changed = next.change.active.clone();
        let fresh = self.state.take_over(next);
        self.table.send_replace(Arc::new(self.state.table()));
        self.loaded.send_replace(true);
        self.keep.tell(&fresh).await;
        let names = changed.iter().map(|playbook| playbook.definition.name.as_str());
        if let Err(error) = self.keep.prune(names).await {
            tracing::warn!(%error, "old versions of playbooks cannot be taken out");
        }
    }
}

/// Waits for a moment, for ever where there is none.
async fn maybe(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits for the look that is under way, for ever where there is none.
async fn looked(looking: &mut Option<JoinHandle<(Memory, Found)>>) -> Option<(Memory, Found)> {
    match looking {
        Some(looking) => looking.await.ok(),
        None => std::future::pending().await,
    }
}
