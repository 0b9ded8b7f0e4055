//! Owns what becomes of a run whose turn is over, and of what was asked of it when its turn was too near its end to hear.

use daemon::runs::Wish;
use effect::Result;
use journal::RunId;
use script::Interrupt;

use super::{Executor, Known, Ready, Settled, Stage};
use crate::execute::ear::{Asked, Why};
use crate::execute::going::{self, Step};

/// What is asked of a run that has its turn, for the case that the turn ends without having heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// It goes on in this way, also when it is paused where that is wanted.
    Again(Wish, bool),
    /// It stops.
    Stop(Asked),
    /// It is given up.
    Cancel,
}

impl Known {
    /// Keeps what is asked of a run that has its turn. The last word counts, but giving up is for good.
    pub(super) fn keep(&mut self, then: Then) {
        if self.then != Some(Then::Cancel) {
            self.then = Some(then);
        }
    }
}

impl Executor<'_> {
    pub(super) fn settle(&mut self, settled: Settled) -> Result<()> {
        let Settled { ready, step, end, last } = settled;
        self.check_journal()?;
        let leaves = *self.leaving.borrow() != Interrupt::None;
        let Some(known) = self.known.get_mut(&ready.run) else { return Ok(()) };
        let is_over = matches!(&step, Ok(Step::Over { finished, .. }) if finished.state.is_final());
        let then = known.then.take().filter(|then| match then {
            _ if is_over => false,
            Then::Cancel => true,
            Then::Again(..) => !leaves,
            // Where somebody is told that it waits, it has stopped. Whatever does not wait has come to something itself.
            Then::Stop(_) => matches!(step, Ok(Step::Waits(_))) && end.is_none(),
        });
        // What comes of that is told instead.
        if then.is_none()
            && let Some(end) = end
        {
            known.relay.end(end, last);
        }
        for cancelling in known.cancelling.drain(..) {
            // Whoever has gone need not know.
            let _ = cancelling.send(Ok(()));
        }
        match then {
            Some(then) => self.go_on(ready, step, then),
            None => self.leave_as_it_is(ready, step, leaves),
        }
        Ok(())
    }

    /// Does what the turn did not hear.
    fn go_on(&mut self, ready: Ready, step: Result<Step>, then: Then) {
        let met_full_disk = match &step {
            Ok(Step::Left(_)) => true,
            Err(error) => going::passes(self.app, error),
            Ok(_) => false,
        };
        let ready = match (step, &then) {
            // It would only come to the same wait again.
            (Ok(Step::Waits(mut waiting)), Then::Again(wish, _)) => {
                waiting.wish = Wish { doubts: Vec::new(), ..wish.clone() };
                return self.wait(waiting);
            }
            (Ok(Step::Waits(waiting)), _) => Ready::from(waiting),
            _ => Ready { failures: ready.failures + u32::from(met_full_disk), ..ready },
        };
        match then {
            Then::Again(wish, is_wanted) => self.queue(Ready { wish, is_wanted, ..ready }),
            Then::Stop(asked) => self.begin(ready, asked),
            Then::Cancel => {
                let asked = Asked { level: Interrupt::Soft, why: Why::Operator };
                self.begin(Ready { is_wanted: true, ..ready }, asked);
            }
        }
    }

    fn leave_as_it_is(&mut self, mut ready: Ready, step: Result<Step>, leaves: bool) {
        let run = ready.run;
        match step {
            Ok(Step::Waits(waiting)) => self.wait(waiting),
            Ok(Step::Left(_)) if leaves => self.forget(&run),
            Ok(Step::Left(_)) => {
                ready.failures += 1;
                self.put_off(ready.pause(), ready);
            }
            Err(error) if going::passes(self.app, &error) && !leaves => {
                tracing::warn!(%run, %error, "a run is tried again later");
                ready.failures += 1;
                self.put_off(ready.pause(), ready);
            }
            Err(error) => {
                tracing::warn!(%run, %error, "a run cannot be gone on with");
                self.hopeless.insert(run);
                self.forget(&run);
            }
            Ok(Step::Over { .. } | Step::Passed(_)) => self.forget(&run),
        }
    }

    /// Leaves a run to those who watch it.
    fn forget(&mut self, run: &RunId) {
        let Some(known) = self.known.get_mut(run) else { return };
        known.stage = Stage::Watched;
        if known.relay.is_alone() {
            self.known.remove(run);
        }
    }
}
