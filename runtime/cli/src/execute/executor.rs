//! Owns the execution of every run of a state directory by the process that stays: who has a worker, who waits for one,
//! for a time or an event, and who is tried again because the disk was full. What a run does is left to [`super::attempt`].
//!
//! A run is in one place at a time: in the queue, active, waiting, or put off. What is recorded is what counts: whatever
//! this process forgets is found again by looking at the journal, at the start and every now and then.

mod asked;
mod find;
mod settle;
mod turn;

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use daemon::metrics::Metrics;
use daemon::runs::{End, Wish};
use effect::Result;
use effect::session::Kept;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use journal::{RunId, RunLock};
use script::Interrupt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::settle::Then;
use self::turn::turn;
use super::desk::{Desk, Message, Shared};
use super::ear::{Asked, Why};
use super::errands::Errand;
use super::going::{self, Step};
use super::many::prepare_copies;
use super::relay::Relay;
use super::waiting::{self, Waiting, Waits};
use crate::app::App;

/// How many runs have a worker at once, and how many wait for one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) workers: usize,
    pub(crate) queue: usize,
}

/// How often it is looked for runs that nobody goes on with.
const BETWEEN_LOOKS: Duration = Duration::from_secs(15);
/// How long after a first failure a run is tried again; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Messages that were sent and not read.
const MOST_MESSAGES: usize = 256;

/// A run that waits for its turn.
pub(super) struct Ready {
    pub(super) run: RunId,
    kept: Kept,
    wish: Wish,
    is_wanted: bool,
    /// The run that it takes back, which nobody goes on with meanwhile.
    _undone: Option<RunLock>,
    /// How often in a row the disk was full.
    failures: u32,
}

impl Ready {
    fn new(run: RunId) -> Self {
        let (kept, wish) = (Kept::default(), Wish::default());
        Self { run, kept, wish, is_wanted: false, _undone: None, failures: 0 }
    }

    fn pause(&self) -> Duration {
        FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE)
    }
}

impl From<Waiting> for Ready {
    fn from(waiting: Waiting) -> Self {
        Self { kept: waiting.kept, wish: waiting.wish, ..Self::new(waiting.run) }
    }
}

/// Where a run is.
enum Stage {
    /// Not here: somebody only watches it.
    Watched,
    Queued,
    Active {
        asks: watch::Sender<Asked>,
        /// How it goes on.
        wish: Wish,
    },
    Waiting,
    /// Until the disk has room again.
    PutOff,
}

struct Known {
    relay: Arc<Relay>,
    stage: Stage,
    /// What was asked of it last while it had its turn.
    then: Option<Then>,
    /// Who waits to be told that it was given up.
    cancelling: Vec<oneshot::Sender<Result<()>>>,
}

/// What came of a turn.
struct Settled {
    ready: Ready,
    step: Result<Step>,
    /// For whoever watches.
    end: Option<End>,
    /// The number of who watched last when it was over.
    last: u64,
}

type Active<'a> = Pin<Box<dyn Future<Output = Settled> + 'a>>;
type Errands<'a> = Pin<Box<dyn Future<Output = Errand> + 'a>>;

/// Executes runs.
pub(crate) struct Executor<'a> {
    app: &'a App,
    bounds: Bounds,
    messages: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
    /// How soon this process is to end.
    leaving: watch::Receiver<Interrupt>,
    known: HashMap<RunId, Known>,
    ready: VecDeque<Ready>,
    waits: Waits,
    put_off: Vec<(Instant, Ready)>,
    active: FuturesUnordered<Active<'a>>,
    errands: FuturesUnordered<Errands<'a>>,
    /// Runs that cannot be gone on with, whatever is tried.
    hopeless: HashSet<RunId>,
    /// Runs that were not started when it was last looked: somebody may be about to hand them over, with what belongs to
    /// them.
    fresh: HashSet<RunId>,
}

impl<'a> Executor<'a> {
    /// An executor, and where it is asked.
    pub(crate) fn new(app: &'a App, bounds: Bounds, leaving: watch::Receiver<Interrupt>) -> (Self, Desk) {
        let (sender, messages) = mpsc::channel(MOST_MESSAGES);
        let shared = Arc::new(Shared::default());
        let desk = Desk {
            journal: app.journal.clone(),
            node: app.node.clone(),
            state: app.state.clone(),
            live: app.live.subscribe(),
            most: bounds.queue,
            messages: sender,
            shared: shared.clone(),
        };
        let executor = Self {
            app,
            bounds,
            messages,
            shared,
            leaving,
            known: HashMap::new(),
            ready: VecDeque::new(),
            waits: Waits::default(),
            put_off: Vec::new(),
            active: FuturesUnordered::new(),
            errands: FuturesUnordered::new(),
            hopeless: HashSet::new(),
            fresh: HashSet::new(),
        };
        (executor, desk)
    }

    /// Executes what there is and what comes, until the process is to end and every run has stopped.
    ///
    /// # Errors
    /// Where the journal is out of use: this process must end.
    pub(crate) async fn run(mut self) -> Result<()> {
        self.find(true).await?;
        let mut looks = tokio::time::interval(BETWEEN_LOOKS);
        looks.reset();
        let mut leaving = self.leaving.clone();
        // The end may have come before the beginning.
        leaving.mark_changed();
        let (mut level, mut looked) = (Interrupt::None, Instant::now());
        loop {
            if level == Interrupt::None {
                self.fill().await;
            } else if self.active.is_empty() && self.errands.is_empty() {
                return Ok(());
            }
            self.shared.queued.store(self.ready.len(), Ordering::Relaxed);
            Metrics::shared().set_running(self.ready.len(), self.active.len());
            let stays = level == Interrupt::None;
            // However much happens meanwhile, those that wait are looked at in time.
            let next_look = (Instant::now() + self.waits.nap(self.app)).min(looked + waiting::BETWEEN_LOOKS);
            let next_try = self.next_try();
            tokio::select! {
                biased;
                Ok(()) = leaving.changed() => {
                    level = *leaving.borrow_and_update();
                    if level != Interrupt::None {
                        self.leave(level);
                    }
                }
                Some(settled) = self.active.next(), if !self.active.is_empty() => self.settle(settled)?,
                Some(errand) = self.errands.next(), if !self.errands.is_empty() => self.run_errand(errand),
                Some(message) = self.messages.recv() => self.hear(message),
                () = tokio::time::sleep_until(next_look), if stays && !self.waits.is_empty() => {
                    self.take_due().await?;
                    looked = Instant::now();
                }
                () = tokio::time::sleep_until(next_try), if stays && !self.put_off.is_empty() => {
                    self.try_again();
                }
                _ = looks.tick(), if stays => self.find(false).await?,
            }
        }
    }

    fn place(&mut self, run: RunId, stage: Stage) {
        match self.known.get_mut(&run) {
            Some(known) => known.stage = stage,
            None => {
                let known = Known { relay: Arc::default(), stage, then: None, cancelling: Vec::new() };
                self.known.insert(run, known);
            }
        }
    }

    fn queue(&mut self, ready: Ready) {
        self.place(ready.run, Stage::Queued);
        self.ready.push_back(ready);
    }

    fn wait(&mut self, waiting: Waiting) {
        self.place(waiting.run, Stage::Waiting);
        self.waits.put(waiting);
    }

    /// Gives workers to those whose turn it is.
    async fn fill(&mut self) {
        let is_one_of_many = self.bounds.workers > 1 && self.ready.len() + self.active.len() > 1;
        if !self.ready.is_empty() && is_one_of_many {
            prepare_copies(self.app).await;
        }
        while self.active.len() < self.bounds.workers
            && let Some(ready) = self.ready.pop_front()
        {
            self.begin(ready, Asked::NOTHING);
        }
    }

    /// Begins a run's turn; one that is `asked` to stop takes no worker.
    fn begin(&mut self, ready: Ready, asked: Asked) {
        let (asks, hears) = watch::channel(asked);
        self.place(ready.run, Stage::Active { asks, wish: ready.wish.clone() });
        let relay = self.known[&ready.run].relay.clone();
        let leaving = self.leaving.clone();
        self.active.push(Box::pin(turn(self.app, ready, relay, hears, leaving)));
    }

    fn put_off(&mut self, pause: Duration, ready: Ready) {
        self.place(ready.run, Stage::PutOff);
        self.put_off.push((Instant::now() + pause, ready));
    }

    async fn take_due(&mut self) -> Result<()> {
        match self.waits.due(self.app).await {
            Ok(due) => due.into_iter().for_each(|due| self.queue(due.into())),
            Err(error) if going::passes(self.app, &error) => {
                tracing::warn!(%error, "it is not known which runs are due");
                tokio::time::sleep(FIRST_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn next_try(&self) -> Instant {
        self.put_off.iter().map(|(at, _)| *at).min().unwrap_or_else(Instant::now)
    }

    fn try_again(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.put_off).into_iter().partition(|(at, _)| *at <= now);
        self.put_off = later;
        let due: Vec<_> = due;
        due.into_iter().for_each(|(_, ready)| self.queue(ready));
    }

    /// Has every run stop, to be gone on with by the next process.
    fn leave(&mut self, level: Interrupt) {
        self.shared.leaves.store(true, Ordering::Relaxed);
        for known in self.known.values() {
            if let Stage::Active { asks, .. } = &known.stage {
                asks.send_modify(|asked| {
                    // The first reason counts, also where it was not heard yet.
                    let why = if asked.level == Interrupt::None { Why::Leaving } else { asked.why };
                    *asked = Asked { level: level.max(asked.level), why };
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
