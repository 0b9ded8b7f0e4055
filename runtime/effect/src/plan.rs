//! Owns what a plan is made of: the change of one object, the overlay of what earlier effects will have changed, and
//! the steps that are shown. Apply uses the same [`Change`], so a dry run cannot differ from the run.

use std::collections::BTreeMap;
use std::sync::Mutex;

use journal::{Identity, Place};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Kind};

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing: it is as described.
    None,
    /// It does not exist yet.
    Create,
    /// It is changed in place.
    Update,
    /// It is removed and made anew.
    Replace,
    /// It goes away.
    Remove,
    /// An act takes place.
    Act,
    /// The run waits here.
    Wait,
    /// It is only looked at.
    Read,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// `env.LOG_LEVEL`, `ports[0].host`.
    pub path: String,
    /// The value found; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value described; absent when the field goes away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// Whether the object must be replaced because of it.
    #[serde(default)]
    pub replaces: bool,
}

/// The difference between an object and its description.
#[derive(Debug, Clone)]
pub struct Change<S> {
    /// What happens.
    pub action: Action,
    /// Which fields differ.
    pub fields: Vec<FieldChange>,
    /// The object as it will be; `None` when it will be gone.
    pub after: Option<S>,
    /// Remarks for people: stop-first, data that is lost.
    pub notes: Vec<String>,
    /// What is lost by it, so that undo could not bring it back.
    pub lost: Vec<String>,
    /// How a text changes, as a unified diff. Only for plans: it is recorded nowhere.
    pub diff: Option<String>,
    /// Top-level fields of `after` that nobody can know before the change is made.
    pub unknown: Vec<&'static str>,
}

impl<S> Change<S> {
    /// The object is as described.
    #[must_use]
    pub fn none(now: Option<S>) -> Self {
        Self::to(Action::None, now, Vec::new())
    }

    /// `action` leads to `after`, by changing `fields`.
    #[must_use]
    pub fn to(action: Action, after: Option<S>, fields: Vec<FieldChange>) -> Self {
        Self { action, fields, after, notes: Vec::new(), lost: Vec::new(), diff: None, unknown: Vec::new() }
    }

    /// The same with a remark.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The same with something that undo could not bring back.
    #[must_use]
    pub fn losing(mut self, what: impl Into<String>) -> Self {
        self.lost.push(what.into());
        self
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.action == Action::None
    }
}

/// Objects as the plan's earlier effects will have left them. Always empty outside a plan.
#[derive(Debug, Default)]
pub struct Overlay {
    objects: Mutex<BTreeMap<String, Option<Value>>>,
}

impl Overlay {
    /// The planned state of an object; the outer `None` means that the plan does not touch it.
    #[must_use]
    pub fn get<S: DeserializeOwned>(&self, key: &str) -> Option<Option<S>> {
        let objects = self.lock();
        let planned = objects.get(key)?;
        Some(planned.clone().and_then(|value| serde_json::from_value(value).ok()))
    }

    /// Every planned object whose key starts with `prefix`.
    #[must_use]
    pub fn beneath<S: DeserializeOwned>(&self, prefix: &str) -> Vec<(String, Option<S>)> {
        let objects = self.lock();
        let planned = objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        planned
            .map(|(key, value)| {
                (key.clone(), value.clone().and_then(|value| serde_json::from_value(value).ok()))
            })
            .collect()
    }

    /// Notes that an object will stand as `after`.
    pub fn set<S: Serialize>(&self, key: &str, after: Option<&S>) {
        let value = after.and_then(|after| serde_json::to_value(after).ok());
        self.lock().insert(key.to_owned(), value);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<Value>>> {
        self.objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One line of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The identity that the effect will have in the run.
    pub identity: Identity,
    /// Its kind.
    pub kind: Kind,
    /// What happens.
    pub action: Action,
    /// The object.
    pub subject: String,
    /// Which fields differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// Remarks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How a text changes, as a unified diff.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// What `mcrun undo` could not take back of it, each a reason; empty where it can take back everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cannot_undo: Vec<String>,
    /// Where the script calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The capabilities it takes, in the form `--allow` takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Why the effect would fail, when it would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// What a saved plan keeps beyond this.
    #[serde(skip)]
    pub seen: Seen,
}

/// What a plan saw of an effect and does not show.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The hash of the arguments.
    pub arguments: [u8; 16],
    /// What a read answered, unless its answer is one of the moment.
    pub answer: Option<Answered>,
    /// The service that the effect changes.
    pub lease: Option<String>,
}

/// What a read answered, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The keyed hash of the answer.
    pub tag: String,
    /// The answer itself, unless it is large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// A place where a branch's plan ends because it depends on what nobody can know yet.
#[derive(Debug, Clone, Serialize)]
pub struct End {
    /// The branch.
    pub scope: String,
    /// What was touched.
    pub note: String,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// What a script would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Plan {
    /// Every effect in the order of the script.
    pub steps: Vec<Step>,
    /// Where it cannot be known further.
    pub ends: Vec<End>,
}

impl Plan {
    /// How many steps have this action.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action && step.error.is_none()).count()
    }

    /// The steps that undo could not take back, or not whole.
    pub fn cannot_undo(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| !step.cannot_undo.is_empty() && step.error.is_none())
    }

    /// Whether applying would change anything.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(
                step.action,
                Action::Create | Action::Update | Action::Replace | Action::Remove | Action::Act
            )
        }) || !self.ends.is_empty()
    }

    /// Every capability that the script takes as far as the plan goes, each once.
    #[must_use]
    pub fn needs(&self) -> Vec<String> {
        let mut needs: Vec<String> = self.steps.iter().flat_map(|step| step.needs.clone()).collect();
        needs.sort();
        needs.dedup();
        needs
    }

    /// The capabilities that are missing, each once.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = self
            .steps
            .iter()
            .filter_map(|step| step.error.as_ref())
            .flat_map(|e| e.missing.clone())
            .collect();
        missing.sort();
        missing.dedup();
        missing
    }
}
