//! Owns the hold that a saved plan has on the run that carries it out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use journal::Identity;

use super::{Saved, SavedStep, comparable, hexadecimal};
use crate::{Action, Code, Error, FieldChange, Kind};

/// The hold of a saved plan on the run that carries it out: nothing acts otherwise than planned. It ends with the first
/// effect that fails against the plan's expectation, because how a script puts things right is part of the script.
#[derive(Debug)]
pub struct Bound {
    steps: HashMap<(String, u32), SavedStep>,
    released: AtomicBool,
}

impl Bound {
    /// The hold of `saved`.
    #[must_use]
    pub fn to(saved: Saved) -> Self {
        let key = |step: &SavedStep| (step.identity.scope.clone(), step.identity.counter);
        let steps = saved.steps.into_iter().map(|step| (key(&step), step)).collect();
        Self { steps, released: AtomicBool::new(false) }
    }

    /// Ends the hold when an effect has failed that was not to fail.
    pub(crate) fn failed(&self, identity: &Identity) {
        let expected = self.steps.get(&(identity.scope.clone(), identity.counter));
        if expected.is_none_or(|step| step.error.is_none()) {
            self.released.store(true, Ordering::Relaxed);
        }
    }

    /// Refuses what is about to act and was not planned so.
    pub(crate) fn check(
        &self,
        identity: &Identity,
        arguments: &[u8; 16],
        action: Action,
        fields: &[FieldChange],
    ) -> Result<(), Error> {
        if self.released.load(Ordering::Relaxed) || puts_right(identity) {
            return Ok(());
        }
        let now = SavedStep {
            identity: identity.clone(),
            kind: Kind::Ensure,
            action,
            subject: String::new(),
            fields: comparable(fields),
            place: None,
            arguments: hexadecimal(arguments),
            answer: None,
            lease: None,
            error: None,
        };
        let mut lines = Vec::new();
        match self.steps.get(&(identity.scope.clone(), identity.counter)) {
            Some(planned) => planned.moved(&now, &mut lines),
            None => lines.push(format!("effect {identity} was not planned")),
        }
        if lines.is_empty() {
            return Ok(());
        }
        let mut error = Error::new(
            Code::PlanStale,
            format!("effect {identity} would do something else than its plan says"),
        )
        .hint("it was not done; put the world back and `mcrun resume RUN`, or let the script go on without the plan: `mcrun resume RUN --leave-plan`");
        error.details = lines;
        Err(error)
    }
}

/// What a script does once it has failed: taking back, and the handlers of `on_failure`.
fn puts_right(identity: &Identity) -> bool {
    let top = identity.scope.split('/').next().unwrap_or_default();
    identity.name == "runs.restore" || top.split('~').next() == Some("on_failure")
}
