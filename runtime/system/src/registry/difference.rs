//! Owns the difference of two JSON values, field by field.

use effect::FieldChange;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// More differences than this are summed up: nobody reads them.
const MOST: usize = 100;

/// Which fields of `after` differ from `before`, by their paths beneath `path`.
pub(super) fn fields(
    path: &str,
    before: Option<&Map<String, Value>>,
    after: &Map<String, Value>,
) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let empty = Map::new();
    objects(path, before.unwrap_or(&empty), after, &mut changes);
    if changes.len() > MOST {
        let rest = changes.len() - MOST;
        changes.truncate(MOST);
        let more = Value::from(format!("{rest} more fields differ"));
        changes.push(FieldChange {
            path: format!("{path}.…"),
            before: None,
            after: Some(more),
            replaces: false,
        });
    }
    changes
}

/// One field that differs as a whole.
pub(super) fn of<T: Serialize>(path: &str, before: &T, after: &T) -> FieldChange {
    let shown = |value: &T| Some(json!(value));
    FieldChange { path: path.to_owned(), before: shown(before), after: shown(after), replaces: false }
}

fn objects(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    changes: &mut Vec<FieldChange>,
) {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    for name in after.keys().chain(gone) {
        values(&format!("{path}.{name}"), before.get(name), after.get(name), changes);
    }
}

fn values(path: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<FieldChange>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => objects(path, before, after, changes),
        (before, after) => changes.push(FieldChange {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
            replaces: false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_named() {
        let value = |value: Value| value.as_object().cloned().unwrap();
        let before = value(json!({ "image": "a:1", "env": { "A": "1", "B": "2" }, "old": true }));
        let after = value(json!({ "image": "a:2", "env": { "A": "1", "B": "3" } }));
        let paths: Vec<String> =
            fields("spec", Some(&before), &after).into_iter().map(|field| field.path).collect();
        assert_eq!(paths, ["spec.image", "spec.env.B", "spec.old"]);
        assert!(fields("spec", Some(&after), &after).is_empty());
    }
}
