//! Owns how an earlier record of a service is brought back. Releases are history and stay.

use effect::{Action, Applied, Change, FieldChange};
use journal::{Expect, Write};
use serde_json::json;

use super::difference;
use super::{SERVICE, Service};

/// What bringing back `earlier` changes.
pub(super) fn compare(now: Option<&Service>, earlier: Option<&Service>) -> Change<Service> {
    if now == earlier {
        return Change::none(now.cloned());
    }
    let Some(earlier) = earlier else { return Change::to(Action::Remove, None, Vec::new()) };
    let mut fields = difference::fields("spec", now.map(|now| &now.spec), &earlier.spec);
    let version = |service: &Service| service.version.as_ref().map(|version| json!(version));
    let (before, after) = (now.and_then(version), version(earlier));
    if before != after {
        fields.push(FieldChange { path: "version".into(), before, after, replaces: false });
    }
    let adopted = |service: &Service| service.adopted.clone();
    let (before, after) = (now.map(adopted).unwrap_or_default(), adopted(earlier));
    if before != after {
        fields.push(difference::of("adopted", &before, &after));
    }
    let action = if now.is_some() { Action::Update } else { Action::Create };
    Change::to(action, Some(earlier.clone()), fields)
}

/// Brings it back.
pub(super) fn apply(node: &str, service: &str, earlier: Option<&Service>) -> Applied<Service> {
    let write = Write {
        kind: SERVICE.to_owned(),
        node: node.to_owned(),
        name: service.to_owned(),
        value: earlier.map(|earlier| json!(earlier).to_string()),
        expect: Expect::Any,
    };
    Applied { after: earlier.cloned(), writes: vec![write] }
}
