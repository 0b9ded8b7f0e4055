//! Owns the way of requests to the writer: who waits for what, and when a group is ready to be committed.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::writer::Request;

/// The requests that wait for the writer.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    /// Somebody waits for one of `requests`.
    urgent: bool,
    /// The writer has taken requests and not come back yet.
    busy: bool,
    /// The writer looks by itself within the group delay: what is not urgent need not wake it.
    attentive: bool,
    /// No further requests will come.
    closed: bool,
    /// The writer is gone.
    dead: bool,
}

impl Queue {
    /// Appends a request. Without a writer it is dropped, which its sender notices.
    pub(crate) fn push(&self, request: Request) {
        let mut state = self.state();
        if state.dead {
            return;
        }
        let urgent = request.is_urgent();
        state.requests.push(request);
        let wake = (urgent && !state.urgent) || !state.attentive;
        state.urgent |= urgent;
        if wake {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Whether everything that was pushed has been dealt with.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.state();
        state.requests.is_empty() && !state.busy
    }

    /// Ends the writer once it has dealt with what is waiting.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.arrived.notify_one();
    }

    /// Drops everything that waits, now and later, so that nobody waits for a writer that is gone.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        state.dead = true;
        state.requests.clear();
    }

    /// Waits for the next group: at once when somebody waits for it, within `delay` otherwise. None at the end.
    pub(crate) fn next_group(&self, delay: Duration) -> Option<Vec<Request>> {
        let mut state = self.state();
        state.busy = false;
        state.attentive = true;
        let mut deadline = Instant::now() + delay;
        loop {
            if state.urgent || state.closed {
                break;
            }
            if !state.attentive {
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                if !state.requests.is_empty() {
                    state.attentive = true;
                    deadline = Instant::now() + delay;
                }
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            } else if state.requests.is_empty() {
                state.attentive = false;
            } else {
                break;
            }
        }
        state.urgent = false;
        state.busy = !state.requests.is_empty();
        state.busy.then(|| std::mem::take(&mut state.requests))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
