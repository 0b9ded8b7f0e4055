//! Owns what a test can look back at: every effect that ended, in order.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use effect::plan::Step;
use effect::{Action, Event, Kind};
use schemars::JsonSchema;
use script::{Level, Module};
use serde::{Deserialize, Serialize};

use crate::render::Watch;

/// One effect that has ended, or that a plan lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Seen {
    /// The effect, `containers.ensure`.
    pub(crate) effect: String,
    /// The object that it was about.
    pub(crate) subject: String,
    /// `read`, `ensure`, `act` or `wait`.
    pub(crate) kind: String,
    /// Where in the run: the names of steps and branches.
    pub(crate) scope: String,
    /// What was done: `none`, `create`, `update`, `replace`, `remove`, `act`, `wait` or `read`.
    pub(crate) action: String,
    /// Whether it changed something: an act that took place, or an ensure that had something to do.
    pub(crate) changed: bool,
    /// The code of the error that it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Seen {
    fn new(
        identity: &journal::Identity,
        kind: Kind,
        subject: &str,
        action: Action,
        error: Option<&effect::Error>,
    ) -> Self {
        let done = matches!(
            action,
            Action::Create | Action::Update | Action::Replace | Action::Remove | Action::Act
        );
        Self {
            effect: identity.name.clone(),
            subject: subject.to_owned(),
            kind: kind.as_str().to_owned(),
            scope: identity.scope.clone(),
            action: serde_json::to_value(action)
                .ok()
                .and_then(|word| word.as_str().map(ToOwned::to_owned))
                .unwrap_or_default(),
            changed: done && error.is_none(),
            error: error.map(|error| error.code.to_string()),
        }
    }

    pub(super) fn planned(step: &Step) -> Self {
        Self::new(&step.identity, step.kind, &step.subject, step.action, step.error.as_ref())
    }

    /// Whether it belongs to the test and not to the kit.
    fn counts(&self) -> bool {
        !self.effect.starts_with("world.")
    }
}

/// Watches a run and keeps what it sees.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) sources: Mutex<HashMap<String, String>>,
    lines: Mutex<Vec<String>>,
    messages: Mutex<Vec<String>>,
    seen: Mutex<Vec<Seen>>,
    /// Where everything is told as well: the world that the run belongs to.
    kit: Option<std::sync::Arc<super::Kit>>,
}

impl Recorder {
    /// A recorder that tells `kit` what it sees.
    pub(crate) fn of(kit: &std::sync::Arc<super::Kit>) -> Self {
        Self { kit: Some(kit.clone()), ..Self::default() }
    }

    /// What the run has logged, without level and fields.
    pub(super) fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the run has logged, as people see it.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Watch for Recorder {
    fn event(&self, event: Event<'_>) {
        let Event::Ended { identity, kind, subject, action, error, .. } = event else { return };
        let seen = Seen::new(identity, kind, subject, action, error);
        if !seen.counts() {
            return;
        }
        if let Some(kit) = &self.kit {
            kit.story().seen.push(seen.clone());
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    fn log(&self, level: Level, scope: &str, message: &str, fields: Option<&str>) {
        let line = crate::render::log_line(level, scope, message, fields);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    }

    fn progress(&self, _: &str, _: &str) {}

    fn module(&self, module: &Module) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.insert(module.name.clone(), module.source.clone());
    }

    fn interrupted(&self, _: bool, _: bool) {}
}
