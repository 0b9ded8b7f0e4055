//! Owns what the executor does for those who ask it: taking runs, stopping them, letting others watch.

use std::sync::atomic::Ordering;

use daemon::runs::{Told, Wish};
use effect::{Code, Error, Result};
use journal::RunId;
use script::Interrupt;
use tokio::sync::{mpsc, oneshot};

use super::settle::Then;
use super::{Executor, Ready, Stage};
use crate::execute::desk::Message;
use crate::execute::ear::{Asked, Why};
use crate::execute::errands::{self, Errand};
use crate::execute::relay::Manner;
use crate::execute::wished;

impl Executor<'_> {
    /// Does what a message says.
    pub(super) fn hear(&mut self, message: Message) {
        // Nobody waits any more for an answer that cannot be given.
        match message {
            Message::Take { run, wish, is_wanted, reply } => {
                let _ = reply.send(self.take(run, wish, is_wanted));
            }
            Message::Undo { run, force, more, cause, reply } => {
                self.errands.push(Box::pin(errands::undo(self.app, run, (force, more, cause), reply)));
            }
            Message::Operate { operation, service, cause, reply } => {
                self.errands.push(Box::pin(errands::operate(self.app, operation, service, cause, reply)));
            }
            Message::Interrupt { run, hard, reply } => {
                let _ = reply.send(self.interrupt(run, hard));
            }
            Message::Cancel { run, reply } => self.cancel(run, reply),
            Message::Answer { run, question, granted, reply } => {
                let answered = match self.known.get(&run) {
                    Some(known) => known.relay.answer(question, granted),
                    None => Err(not_here(&run)),
                };
                let _ = reply.send(answered);
            }
            Message::Watch { run, how, reply } => {
                let _ = reply.send(self.watch(run, how));
            }
        }
    }

    fn watch(&mut self, run: RunId, how: Manner) -> Result<mpsc::Receiver<Told>> {
        if !self.known.contains_key(&run) {
            self.place(run, Stage::Watched);
        }
        self.known[&run].relay.join(how)
    }

    fn take(&mut self, run: RunId, wish: Wish, is_wanted: bool) -> Result<()> {
        if self.shared.leaves.load(Ordering::Relaxed) {
            return Err(Error::new(Code::DaemonStops, "the daemon is stopping").retryable());
        }
        self.hopeless.remove(&run);
        let taken = self.take_out(&run);
        if let Some(known) = self.known.get_mut(&run)
            && let Stage::Active { asks, wish: ours } = &known.stage
        {
            // Whoever hands it over after a restart finds it under way. A turn that goes on otherwise, or not for long,
            // comes to something that was not asked for.
            let goes_on = !asks.is_closed() && asks.borrow().level == Interrupt::None;
            if !(goes_on && wished::are_alike(ours, &wish)) {
                known.keep(Then::Again(wish, is_wanted));
            }
            return Ok(());
        }
        let ready = taken.unwrap_or_else(|| Ready::new(run));
        self.queue(Ready { wish, is_wanted, ..ready });
        Ok(())
    }

    /// Takes a run that has no worker out of where it waits.
    pub(super) fn take_out(&mut self, run: &RunId) -> Option<Ready> {
        match self.known.get(run)?.stage {
            Stage::Queued => {
                let place = self.ready.iter().position(|ready| ready.run == *run)?;
                self.ready.remove(place)
            }
            Stage::Waiting => self.waits.take(run).map(Ready::from),
            Stage::PutOff => {
                let place = self.put_off.iter().position(|(_, ready)| ready.run == *run)?;
                Some(self.put_off.swap_remove(place).1)
            }
            Stage::Watched | Stage::Active { .. } => None,
        }
    }

    fn interrupt(&mut self, run: RunId, hard: bool) -> Result<()> {
        let level = if hard { Interrupt::Hard } else { Interrupt::Soft };
        let asked = Asked { level, why: Why::Operator };
        let Some(known) = self.known.get_mut(&run) else { return Err(not_here(&run)) };
        match &known.stage {
            Stage::Watched => return Err(not_here(&run)),
            Stage::Active { asks, .. } => {
                asks.send_replace(asked);
                known.keep(Then::Stop(asked));
            }
            Stage::Queued | Stage::Waiting | Stage::PutOff => {
                if let Some(ready) = self.take_out(&run) {
                    self.begin(ready, asked);
                }
            }
        }
        Ok(())
    }

    fn cancel(&mut self, run: RunId, reply: oneshot::Sender<Result<()>>) {
        let asked = Asked { level: Interrupt::Soft, why: Why::Operator };
        if let Some(known) = self.known.get_mut(&run)
            && let Stage::Active { asks, .. } = &known.stage
        {
            asks.send_replace(asked);
            known.keep(Then::Cancel);
            let _ = reply.send(Ok(()));
            return;
        }
        let ready = self.take_out(&run).unwrap_or_else(|| Ready::new(run));
        self.begin(Ready { is_wanted: true, ..ready }, asked);
        if let Some(known) = self.known.get_mut(&run) {
            known.cancelling.push(reply);
        }
    }

    pub(super) fn run_errand(&mut self, errand: Errand) {
        let Errand { queued, undone } = errand;
        if let Some(run) = queued {
            self.queue(Ready { _undone: undone, ..Ready::new(run) });
        }
    }
}

fn not_here(run: &RunId) -> Error {
    Error::new(Code::NotExecuted, format!("run {run} is not executed by this daemon"))
}
