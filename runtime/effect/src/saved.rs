//! Owns what is kept of a plan that is applied later: its steps without secrets, what has moved since, and the hold that
//! it has on the run that carries it out. Leaves the file to the command line.

mod bound;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use journal::{Identity, Place};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::{Answered, FieldChange, Plan, Step};
use crate::secret::without_boxes;
use crate::{Action, Error, Kind};

pub use bound::Bound;

/// How many lines tell what has moved: the first ones explain the rest.
const MOST_LINES: usize = 40;

/// The steps of a plan, as they are saved.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Saved {
    steps: Vec<SavedStep>,
}

/// One effect of a saved plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedStep {
    identity: Identity,
    kind: Kind,
    action: Action,
    subject: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<FieldChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    /// The hash of the arguments.
    arguments: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answered>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    /// Why the effect would fail, where the script catches that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

impl Saved {
    /// What is kept of `plan`.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self { steps: plan.steps.iter().map(SavedStep::of).collect() }
    }

    /// The services that the plan changes.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&str> {
        self.steps.iter().filter_map(|step| step.lease.as_deref()).collect()
    }

    /// What is different in `now`, line by line; nothing when the plan still holds.
    #[must_use]
    pub fn moved(&self, now: &Self) -> Vec<String> {
        let found = by_identity(&now.steps);
        let mut lines = Vec::new();
        for step in &self.steps {
            match found.get(&key(&step.identity)) {
                Some(now) => step.moved(now, &mut lines),
                None => lines.push(format!("{}: was planned, is not asked for any more", step.headline())),
            }
        }
        let planned = by_identity(&self.steps);
        let new = now.steps.iter().filter(|step| !planned.contains_key(&key(&step.identity)));
        lines.extend(new.map(|step| format!("{}: was not planned", step.headline())));
        if lines.len() > MOST_LINES {
            let more = lines.len() - MOST_LINES;
            lines.truncate(MOST_LINES);
            lines.push(format!("and {more} more"));
        }
        lines
    }
}

type Key<'a> = (&'a str, u32);

fn key(identity: &Identity) -> Key<'_> {
    (&identity.scope, identity.counter)
}

fn by_identity(steps: &[SavedStep]) -> HashMap<Key<'_>, &SavedStep> {
    steps.iter().map(|step| (key(&step.identity), step)).collect()
}

impl SavedStep {
    fn of(step: &Step) -> Self {
        Self {
            identity: step.identity.clone(),
            kind: step.kind,
            action: step.action,
            subject: step.subject.clone(),
            fields: comparable(&step.fields),
            place: step.place.clone(),
            arguments: hexadecimal(&step.seen.arguments),
            answer: step.seen.answer.clone(),
            lease: step.seen.lease.clone(),
            error: step.error.clone(),
        }
    }

    fn headline(&self) -> String {
        let place = self.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        let name = &self.identity.name;
        if self.subject.is_empty() {
            format!("{name}{place}")
        } else {
            format!("{name} {}{place}", self.subject)
        }
    }

    fn moved(&self, now: &Self, lines: &mut Vec<String>) {
        let headline = self.headline();
        if self.identity.name != now.identity.name {
            lines.push(format!("{headline}: is now {}", now.headline()));
            return;
        }
        let before = lines.len();
        match (&self.error, &now.error) {
            (_, Some(error)) if self.error.as_ref().map(|error| error.code) != Some(error.code) => {
                lines.push(format!("{headline}: would fail now: {error}"));
            }
            (Some(error), None) => {
                lines.push(format!("{headline}: would not fail any more with {}", error.code))
            }
            _ => {}
        }
        if self.action != now.action {
            lines.push(format!("{headline}: was to {}, now {}", verb(self.action), verb(now.action)));
        }
        let fields = moved_fields(&self.fields, &now.fields);
        lines.extend(fields.into_iter().map(|line| format!("{headline}: {line}")));
        if let (Some(was), Some(is)) = (&self.answer, &now.answer)
            && was.tag != is.tag
        {
            lines.extend(moved_answer(was, is).into_iter().map(|line| format!("{headline}: {line}")));
        }
        if lines.len() == before && self.arguments != now.arguments {
            lines.push(format!("{headline}: its arguments are different"));
        }
    }
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::None => "find it as it should be",
        Action::Create => "create",
        Action::Update => "update",
        Action::Replace => "replace",
        Action::Remove => "remove",
        Action::Act => "do it",
        Action::Wait => "wait",
        Action::Read => "look",
    }
}

/// Fields as they can be compared: of a hidden value, the hash counts and the box differs each time.
fn comparable(fields: &[FieldChange]) -> Vec<FieldChange> {
    let plain = |field: &FieldChange| FieldChange {
        before: field.before.clone().map(without_boxes),
        after: field.after.clone().map(without_boxes),
        ..field.clone()
    };
    fields.iter().map(plain).collect()
}

fn moved_fields(was: &[FieldChange], is: &[FieldChange]) -> Vec<String> {
    let find = |fields: &[FieldChange], path: &str| {
        fields.iter().find(|field| field.path == path).map(change).unwrap_or_else(|| "no change".to_owned())
    };
    let paths: BTreeSet<&str> = was.iter().chain(is).map(|field| field.path.as_str()).collect();
    let moved = paths.into_iter().map(|path| (path, find(was, path), find(is, path)));
    moved
        .filter(|(_, was, is)| was != is)
        .map(|(path, was, is)| format!("{path}: was {was}, is {is}"))
        .collect()
}

fn change(field: &FieldChange) -> String {
    let side = |value: &Option<Value>| value.as_ref().map_or_else(|| "absent".to_owned(), shown);
    format!("{} → {}", side(&field.before), side(&field.after))
}

fn moved_answer(was: &Answered, is: &Answered) -> Vec<String> {
    let (Some(was), Some(is)) = (&was.value, &is.value) else {
        return vec!["its answer is different".to_owned()];
    };
    let mut lines = Vec::new();
    differing("", was, is, &mut lines);
    lines
}

fn differing(path: &str, was: &Value, is: &Value, lines: &mut Vec<String>) {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) if !was.contains_key("$hidden") => {
            let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let side = |fields: &serde_json::Map<String, Value>| {
                    fields.get(name).cloned().unwrap_or(Value::Null)
                };
                differing(&inner, &side(was), &side(is), lines);
            }
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            for (index, (was, is)) in was.iter().zip(is).enumerate() {
                differing(&format!("{path}[{}]", index + 1), was, is, lines);
            }
        }
        (was, is) if was != is => {
            let what = if path.is_empty() { "its answer" } else { path };
            lines.push(format!("{what}: was {}, is {}", shown(was), shown(is)));
        }
        _ => {}
    }
}

fn shown(value: &Value) -> String {
    const LONGEST: usize = 80;
    if value.is_null() {
        return "absent".to_owned();
    }
    if value.get("$hidden").is_some() {
        // The hash alone tells that it is another one.
        return format!(
            "(hidden {})",
            value["$hidden"].as_str().unwrap_or_default().get(..6).unwrap_or_default()
        );
    }
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn hexadecimal(hash: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*hash))
}
