//! Owns how `on.event` is read: which events a pattern means, and what is asked of their data.

use effect::policy::nearest;
use serde_json::Value;

use super::{parts, rate};
use crate::events::{KNOWN, Known};
use crate::playbooks::fields::{self, Mistakes, below};
use crate::playbooks::{Filter, OnEvent, Trigger};
use crate::triggers::is_named;

const MOST_CONDITIONS: usize = 32;
/// A word that is so long and differs by one letter is hardly another one.
const LONG_WORD: usize = 6;

pub(super) fn read(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Trigger> {
    let (main, main_path, table) = parts(value, ("name", &["where", "at_most"]), path, mistakes)?;
    let pattern = fields::text(main, &main_path, 256, mistakes)?;
    let known = known_events(&pattern, &main_path, mistakes)?;
    let get = |field: &str| table.and_then(|table| table.get(field));
    let filter = match get("where") {
        Some(value) => filter(value, &below(path, "where"), &known, mistakes)?,
        None => Filter::new(),
    };
    let at_most = match get("at_most") {
        Some(value) => Some(rate(value, &below(path, "at_most"), mistakes)?),
        None => None,
    };
    Some(Trigger::Event(OnEvent { pattern, filter, at_most }))
}

/// The events of ours that a pattern means. None, where it is wrong.
fn known_events(pattern: &str, path: &str, mistakes: &mut Mistakes) -> Option<Vec<&'static Known>> {
    let shown = fields::quoted(pattern);
    let is_part = |part: &str| {
        let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        !part.is_empty() && part.chars().all(|c| of_name(c) || c == '*')
    };
    if !pattern.split('.').all(is_part) {
        mistakes.hinted(
            path,
            format_args!("is no pattern of events: {shown}"),
            "names such as `container.exited`, with `*` for any part between dots: `container.*`",
        );
        return None;
    }
    let known: Vec<&Known> = KNOWN.iter().filter(|known| is_named(pattern, known.name)).collect();
    if known.is_empty()
        && let Some(hint) = meant(pattern)
    {
        mistakes.hinted(path, format_args!("names no event of mcrun: {shown}"), hint);
        return None;
    }
    Some(known)
}

/// What a pattern that means no event of ours was to mean, if one of ours.
fn meant(pattern: &str) -> Option<String> {
    let family = family(pattern);
    let names = || KNOWN.iter().map(|known| known.name);
    let of =
        |family: &str| names().filter(|name| self::family(name) == family).collect::<Vec<_>>().join(", ");
    if names().any(|name| self::family(name) == family) {
        return Some(match nearest(pattern, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", of(family)),
        });
    }
    // Others tell of events of their own: `device.online` is no slip for `service`, though it looks like it.
    let near = nearest(family, names().map(self::family))?;
    let corrected = format!("{near}{}", &pattern[family.len()..]);
    if names().any(|name| is_named(&corrected, name)) {
        return Some(format!("did you mean `{corrected}`?"));
    }
    let is_slip = near.len() >= LONG_WORD && strsim::damerau_levenshtein(family, near) == 1;
    is_slip.then(|| format!("did you mean one of {}?", of(near)))
}

fn family(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

fn filter(value: &Value, path: &str, known: &[&Known], mistakes: &mut Mistakes) -> Option<Filter> {
    let conditions = fields::object(value, path, mistakes)?;
    if conditions.len() > MOST_CONDITIONS {
        mistakes.wrong(path, format_args!("has more than {MOST_CONDITIONS} conditions"));
        return None;
    }
    let names: Vec<&str> = known.iter().flat_map(|known| known.fields).copied().collect();
    let mut filter = Filter::new();
    for (field, value) in conditions {
        let path = below(path, field);
        let first = field.split('.').next().unwrap_or_default();
        if !names.is_empty() && !names.contains(&first) {
            let message = format!("is none of the event's, which has {}", names.join(", "));
            match nearest(first, names.iter().copied()) {
                Some(near) => mistakes.hinted(&path, message, format!("did you mean `{near}`?")),
                None => mistakes.wrong(&path, message),
            }
        } else if is_condition(value) {
            filter.insert(field.clone(), value.clone());
        } else {
            let kind = fields::kind(value);
            mistakes.wrong(
                &path,
                format_args!("must be a string, a number, a boolean or a list of these, not {kind}"),
            );
        }
    }
    Some(filter)
}

/// One value, or a list of which any will do.
fn is_condition(value: &Value) -> bool {
    let is_plain = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    match value {
        Value::Array(any) => !any.is_empty() && any.len() <= MOST_CONDITIONS && any.iter().all(is_plain),
        one => is_plain(one),
    }
}
