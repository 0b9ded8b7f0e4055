//! Owns how a run that is under way hears that it is to stop: by the signals of its own process, or from whoever
//! executes many runs, where signals mean the process and not the run.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use journal::RunId;
use script::Interrupt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::app::App;
use crate::render::Watch;

/// How often a run looks whether somebody asked for its end; a signal is quicker and may get lost.
pub(super) const CANCEL_CHECK: Duration = Duration::from_secs(1);
/// How long the effects of a run that took too long may take to come to their end.
const GRACE: Duration = Duration::from_secs(30);

/// What a run is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// How soon it is to stop.
    pub(crate) level: Interrupt,
    /// Why.
    pub(crate) why: Why,
}

/// Why a run is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody wants it to: it waits for a decision.
    Operator,
    /// The process ends; the next one goes on with the run by itself.
    Leaving,
    /// It has taken as long as it may.
    TimedOut,
}

impl Asked {
    /// Nothing.
    pub(crate) const NOTHING: Self = Self { level: Interrupt::None, why: Why::Operator };
}

/// Where a run hears that it is to stop.
#[derive(Debug)]
pub(crate) enum Ear {
    /// The signals of this process mean the run.
    Signals,
    /// Whoever executes it tells.
    Desk {
        /// What is asked.
        asked: watch::Receiver<Asked>,
        /// How long it may still take.
        left: Option<Duration>,
    },
}

impl Ear {
    /// Whether the process goes on with many other runs, and with this one later.
    pub(super) fn is_of_many(&self) -> bool {
        matches!(self, Self::Desk { .. })
    }
}

/// The signals that ask a run to stop.
pub(crate) struct Signals([Signal; 3]);

impl Signals {
    pub(crate) fn open() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// An ear that listens.
enum Listening {
    Signals(Option<Signals>),
    Desk { asked: watch::Receiver<Asked>, end: Option<Pin<Box<Sleep>>> },
}

impl Listening {
    fn of(ear: Ear) -> Self {
        match ear {
            Ear::Signals => Self::Signals(Signals::open().ok()),
            Ear::Desk { mut asked, left } => {
                // What was asked before it began to listen counts as well.
                asked.mark_changed();
                Self::Desk { asked, end: left.map(|left| Box::pin(tokio::time::sleep(left))) }
            }
        }
    }

    /// What is asked next, beyond `before`. It may be dropped and asked again.
    async fn next(&mut self, before: Asked) -> Asked {
        let further = if before.level == Interrupt::None { Interrupt::Soft } else { Interrupt::Hard };
        match self {
            Self::Signals(Some(signals)) => {
                signals.next().await;
                Asked { level: further, why: Why::Operator }
            }
            Self::Signals(None) => std::future::pending().await,
            Self::Desk { asked, end } => tokio::select! {
                told = told(asked, before) => told,
                () = passed(end) => {
                    *end = (further == Interrupt::Soft).then(|| Box::pin(tokio::time::sleep(GRACE)));
                    Asked { level: further, why: Why::TimedOut }
                }
            },
        }
    }
}

async fn told(asked: &mut watch::Receiver<Asked>, before: Asked) -> Asked {
    loop {
        // Nobody is left who could ask.
        let Ok(()) = asked.changed().await else { return std::future::pending().await };
        let now = *asked.borrow_and_update();
        if now.level > before.level {
            return now;
        }
    }
}

async fn passed(end: &mut Option<Pin<Box<Sleep>>>) {
    match end {
        Some(end) => end.await,
        None => std::future::pending().await,
    }
}

/// What a run has heard so far.
pub(super) type Heard = std::cell::Cell<Asked>;

/// Once stops the run at its next effect, twice at once; `mcrun cancel` counts as once.
pub(super) async fn listen(
    ear: Ear,
    interrupts: &watch::Sender<Interrupt>,
    heard: &Heard,
    (app, run): (&App, &RunId),
    watch: &dyn Watch,
) -> Infallible {
    let mut ear = Listening::of(ear);
    loop {
        let mut asked = tokio::select! {
            asked = ear.next(heard.get()) => asked,
            () = tokio::time::sleep(CANCEL_CHECK), if heard.get().level == Interrupt::None => {
                if !matches!(app.journal.cancel_requested(run).await, Ok(true)) {
                    continue;
                }
                Asked { level: Interrupt::Soft, why: Why::Operator }
            }
        };
        if heard.get().level != Interrupt::None {
            // The first reason counts: a run that somebody stopped is not gone on with by the next process.
            asked.why = heard.get().why;
        }
        heard.set(asked);
        if asked.why == Why::Operator {
            let is_cancelled = app.journal.cancel_requested(run).await.unwrap_or(false);
            watch.interrupted(asked.level == Interrupt::Hard, is_cancelled);
        }
        interrupts.send_replace(asked.level);
    }
}

/// Waits until somebody asks a run to stop that has no worker.
pub(super) async fn asked_to_stop(app: &App, run: &RunId) {
    let Ok(mut signals) = Signals::open() else { return std::future::pending().await };
    let mut looks = tokio::time::interval(CANCEL_CHECK);
    loop {
        tokio::select! {
            () = signals.next() => return,
            _ = looks.tick() => {
                if matches!(app.journal.cancel_requested(run).await, Ok(true)) {
                    return;
                }
            }
        }
    }
}
