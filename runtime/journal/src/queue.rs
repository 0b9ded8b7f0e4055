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
    /// When the first of `requests` came.
    since: Option<Instant>,
    /// The writer's thread is to look at once: somebody waits, or the log is long.
    urgent: bool,
    /// Requests have been taken and are not answered yet.
    busy: bool,
    /// The writer's thread looks by itself within the group delay: what is not urgent need not wake it.
    attentive: bool,
    /// No further requests will come.
    closed: bool,
    /// The writer is gone.
    dead: bool,
}

impl Queue {
    /// Appends a request and wakes the writer's thread for it. Without a writer it is dropped, which its sender notices.
    pub(crate) fn push(&self, request: Request) {
        let mut state = self.state();
        if state.dead {
            return;
        }
        let urgent = request.is_urgent();
        state.add(request);
        let wake = (urgent && !state.urgent) || !state.attentive;
        state.urgent |= urgent;
        if wake {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Appends a request that its sender is about to have dealt with on its own thread.
    pub(crate) fn push_quietly(&self, request: Request) {
        let mut state = self.state();
        if !state.dead {
            state.add(request);
        }
    }

    /// Has the writer's thread look at once.
    pub(crate) fn wake(&self) {
        self.state().urgent = true;
        self.arrived.notify_one();
    }

    /// Whether everything that was pushed has been dealt with, as far as those who read see anything of it.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.state();
        // Records of the audit wait for what they tell of; whoever reads the audit says so.
        state.requests.iter().all(|request| matches!(request, Request::Audit { .. })) && !state.busy
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

    /// Waits until there is something to be done: at once when somebody waits for it, within `delay` of the first request
    /// otherwise. False at the end.
    pub(crate) fn wait(&self, delay: Duration) -> bool {
        let mut state = self.state();
        loop {
            if state.urgent || state.closed {
                break;
            }
            let Some(since) = state.since else {
                state.attentive = false;
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.attentive = true;
            let left = (since + delay).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        // Until the next wait nobody need wake this thread: it will see what has come.
        state.attentive = true;
        state.urgent = false;
        !(state.closed && state.requests.is_empty())
    }

    /// Takes what waits. Only whoever holds the writer may do so: groups are committed in the order of their requests.
    pub(crate) fn take(&self) -> Vec<Request> {
        let mut state = self.state();
        state.busy = true;
        state.since = None;
        std::mem::take(&mut state.requests)
    }

    /// What was taken has been answered.
    pub(crate) fn settle(&self) {
        self.state().busy = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, request: Request) {
        if self.requests.is_empty() {
            self.since = Some(Instant::now());
        }
        self.requests.push(request);
    }
}
