//! Owns whether an event is one that a trigger is for.

use serde_json::Value;

use crate::playbooks::{Filter, OnEvent};

/// Whether an event of this name with this data starts it.
pub(super) fn matches(on: &OnEvent, name: &str, data: &Value) -> bool {
    is_named(&on.pattern, name) && has(&on.filter, data)
}

/// Whether a name fits a pattern in which `*` stands for a part between dots.
#[must_use]
pub fn is_named(pattern: &str, name: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('.'), name.split('.'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(part)) if !part.is_empty() && fits(wanted, part) => {}
            _ => return false,
        }
    }
}

fn has(filter: &Filter, data: &Value) -> bool {
    filter.iter().all(|(path, wanted)| {
        let found = path.split('.').try_fold(data, |data, field| data.get(field));
        match (wanted, found) {
            (Value::Null, None) => true,
            (wanted, Some(found)) => is_wanted(wanted, found),
            (_, None) => false,
        }
    })
}

fn is_wanted(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::String(pattern), Value::String(text)) => fits(pattern, text),
        // A whole number is the same however it is written.
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        // Any of them.
        (Value::Array(any), found) if !found.is_array() => any.iter().any(|wanted| is_wanted(wanted, found)),
        (wanted, found) => wanted == found,
    }
}

/// Whether a text fits a pattern in which `*` stands for anything, nothing included. Takes no longer than the lengths of
/// both multiplied.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where the last `*` was, and how far it has been taken to reach.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match star {
                Some((place, reached)) => {
                    star = Some((place, reached + 1));
                    (at, seen) = (place + 1, reached + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_star_stands_for_one_part_of_a_name() {
        for (pattern, name, is_it) in [
            ("container.exited", "container.exited", true),
            ("container.*", "container.exited", true),
            ("*.exited", "container.exited", true),
            ("container.ex*", "container.exited", true),
            ("*", "deployed", true),
            ("*", "container.exited", false),
            ("container.*", "container", false),
            ("container.*", "container.", false),
            ("container.*", "container.a.b", false),
            ("container.exited", "container.exited.twice", false),
        ] {
            assert_eq!(is_named(pattern, name), is_it, "{pattern} {name}");
        }
    }

    #[test]
    fn data_are_what_the_filter_says() {
        let data = json!({ "name": "web-1", "exit_code": 137, "is_public": true, "on": { "node": "rift" } });
        for (filter, is_it) in [
            (json!({}), true),
            (json!({ "name": "web-*" }), true),
            (json!({ "name": "*-1", "on.node": "ri*t" }), true),
            (json!({ "name": "db-*" }), false),
            (json!({ "exit_code": 137.0 }), true),
            (json!({ "exit_code": [0, 137] }), true),
            (json!({ "exit_code": "137" }), false),
            (json!({ "is_public": true, "missing": null }), true),
            (json!({ "missing": "*" }), false),
            (json!({ "on.node.deeper": "*" }), false),
        ] {
            let wanted: Filter = serde_json::from_value(filter.clone()).unwrap();
            assert_eq!(has(&wanted, &data), is_it, "{filter}");
        }
        assert!(has(&Filter::default(), &Value::Null));
    }

    #[test]
    fn a_pattern_made_to_take_long_does_not() {
        let text = "a".repeat(20_000);
        assert!(!fits(&format!("{}b", "*a".repeat(200)), &text));
        assert!(fits(&"*a".repeat(200), &text));
    }
}
