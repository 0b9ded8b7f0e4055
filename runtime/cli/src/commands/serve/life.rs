//! Owns when the process that stays comes to its end: at the first signal every run stops at its next effect, at the
//! second at once. What is left to do is gone on with by the next one.

use std::convert::Infallible;

use effect::{Code, Error, Result};
use script::Interrupt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::render;

/// The end of the process as it draws near.
pub(super) struct Life {
    interrupted: Signal,
    terminated: Signal,
    leaving: watch::Sender<Interrupt>,
}

impl Life {
    /// Listens from now on.
    pub(super) fn begin() -> Result<Self> {
        let failed = |error| Error::new(Code::Internal, "signals cannot be waited for").because(error);
        Ok(Self {
            interrupted: signal(SignalKind::interrupt()).map_err(failed)?,
            terminated: signal(SignalKind::terminate()).map_err(failed)?,
            leaving: watch::Sender::new(Interrupt::None),
        })
    }

    /// How soon runs are to stop.
    pub(super) fn leaving(&self) -> watch::Receiver<Interrupt> {
        self.leaving.subscribe()
    }

    /// Hears signals.
    pub(super) async fn listen(&mut self) -> Infallible {
        loop {
            tokio::select! {
                _ = self.interrupted.recv() => {}
                _ = self.terminated.recv() => {}
            }
            let (level, said) = match *self.leaving.borrow() {
                Interrupt::None => (Interrupt::Soft, "stopping: runs stop at their next effect"),
                _ => (Interrupt::Hard, "stopping at once"),
            };
            render::note(said);
            self.leaving.send_replace(level);
        }
    }

    /// Hears signals until it is time to end at once.
    pub(super) async fn no_more_patience(&mut self) {
        let mut leaving = self.leaving();
        tokio::select! {
            never = self.listen() => match never {},
            // The sender is in our hands.
            _ = leaving.wait_for(|level| *level == Interrupt::Hard) => {}
        }
    }
}
