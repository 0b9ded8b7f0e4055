//! Owns the signs of life: what the service manager hears, and the beat of the watchdog, which comes from the main loop so
//! that one that hangs is noticed. Whoever asks that mcrun.toml be read again is heard here too.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use daemon::api::Reload;
use daemon::metrics::Metrics;
use effect::{Code, Error, Result};
use script::Interrupt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use super::handed::Environment;
use super::notify::Notifier;
use super::reload::reload;
use crate::app::App;
use crate::render;

/// Those who ask at once that the configuration be read again.
const MOST_ASKING: usize = 16;

type Answer = oneshot::Sender<Result<Vec<String>>>;

/// The signs of life.
pub(super) struct Signs {
    notifier: Notifier,
    watchdog: Option<Duration>,
    hangup: Signal,
    asking: mpsc::Sender<Answer>,
    asked: mpsc::Receiver<Answer>,
}

impl Signs {
    /// Listens from now on.
    pub(super) fn begin(environment: &Environment) -> Result<Self> {
        let hangup = signal(SignalKind::hangup())
            .map_err(|error| Error::new(Code::Internal, "SIGHUP cannot be waited for").because(error))?;
        let (asking, asked) = mpsc::channel(MOST_ASKING);
        let notifier = Notifier::new(environment.notify.as_deref());
        Ok(Self { notifier, watchdog: environment.watchdog, hangup, asking, asked })
    }

    /// Everything answers.
    pub(super) fn ready(&self) {
        self.notifier.ready("ready");
    }

    /// What has the configuration read again, as SIGHUP does, from any thread.
    pub(super) fn reloading(&self) -> Arc<dyn Reload> {
        Arc::new(Asking(self.asking.clone()))
    }

    /// Gives signs of life and reads the configuration again whenever somebody asks for that. To be polled by the main loop
    /// itself.
    pub(super) async fn keep(&mut self, app: &App, mut leaving: watch::Receiver<Interrupt>) -> Infallible {
        let mut beats = beats(self.watchdog);
        let mut is_leaving = false;
        loop {
            tokio::select! {
                () = beat(&mut beats) => self.notifier.alive(),
                _ = self.hangup.recv() => {
                    // What is wrong is told there; everything goes on as it was.
                    let _ = self.reload(app);
                }
                Some(answer) = self.asked.recv() => {
                    let read = self.reload(app);
                    // Whoever has gone does not need to know.
                    let _ = answer.send(read);
                }
                _ = leaving.wait_for(|level| *level != Interrupt::None), if !is_leaving => {
                    is_leaving = true;
                    self.notifier.stopping();
                }
            }
        }
    }

    /// Gives signs of life while everything winds down.
    pub(super) async fn last(&self) -> Infallible {
        self.notifier.stopping();
        let mut beats = beats(self.watchdog);
        loop {
            beat(&mut beats).await;
            self.notifier.alive();
        }
    }

    fn reload(&self, app: &App) -> Result<Vec<String>> {
        self.notifier.reloading();
        let read = reload(app);
        Metrics::shared().reloaded("configuration", read.is_ok());
        match &read {
            Ok(_) => {
                render::note("mcrun.toml was read again");
                self.notifier.ready("ready");
            }
            Err(error) => {
                tracing::error!(%error, "mcrun.toml is wrong; everything goes on as it was");
                self.notifier.ready("ready; mcrun.toml is wrong and was not taken over");
            }
        }
        read
    }
}

/// Twice in the time that the manager waits.
fn beats(watchdog: Option<Duration>) -> Option<tokio::time::Interval> {
    let mut beats = tokio::time::interval((watchdog? / 2).max(Duration::from_millis(1)));
    // A loop that hung has nothing to make up for.
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    Some(beats)
}

async fn beat(beats: &mut Option<tokio::time::Interval>) {
    match beats {
        Some(beats) => drop(beats.tick().await),
        None => std::future::pending().await,
    }
}

/// Asks the main loop.
struct Asking(mpsc::Sender<Answer>);

#[async_trait]
impl Reload for Asking {
    async fn reload(&self) -> Result<Vec<String>> {
        let (answer, answered) = oneshot::channel();
        let stopping = || Error::new(Code::ApiUnavailable, "the daemon is stopping").retryable();
        self.0.send(answer).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}
