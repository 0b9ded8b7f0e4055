//! Owns how the table of `playbook { … }` becomes a [`Definition`]. Triggers are read in `on`, parameters in `params`.

#[cfg(test)]
mod tests;

use std::str::FromStr as _;
use std::time::Duration;

use effect::policy::Capability;
use effect::{Error, Result};
use serde_json::Value;

use super::fields::{self, Mistake, Mistakes};
use super::places::Places;
use super::{CatchUp, Definition, Overlap, on, params};

const FIELDS: [&str; 9] =
    ["name", "description", "on", "allow", "params", "overlap", "catch_up", "timeout", "run"];
const LONGEST_NAME: usize = 63;
const LONGEST_DESCRIPTION: usize = 4096;
const MOST_CAPABILITIES: usize = 256;
const LONGEST_TIMEOUT: Duration = Duration::from_secs(366 * 86_400);

/// What is wrong with a definition; never empty.
#[derive(Debug)]
pub struct Misread(Vec<Mistake>);

impl Misread {
    /// All of it as one error: the first mistake with what it advises, the others as details; and the line of the first.
    /// `source` is the text of the file.
    #[must_use]
    pub fn error(self, source: &str) -> (Error, Option<u32>) {
        let places = Places::of(source);
        let mut mistakes: Vec<_> =
            self.0.into_iter().map(|mistake| (places.line(&mistake.path), mistake.error)).collect();
        // In the order of the file, where that is known.
        mistakes.sort_by_key(|(line, _)| line.unwrap_or(u32::MAX));
        let mut mistakes = mistakes.into_iter();
        let (line, mut error) = mistakes.next().expect("a definition is misread for a reason");
        for (line, other) in mistakes {
            let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            let hint = other.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            error = error.detail(format!("{place}{}{hint}", other.message));
        }
        (error, line)
    }
}

/// Reads what the table of `playbook { … }` says, without its `run`.
///
/// # Errors
/// Everything that is wrong with it, by field: `MC-L002`, or what a time or an event is refused with.
pub fn read(definition: &Value) -> std::result::Result<Definition, Misread> {
    let mut mistakes = Mistakes::default();
    let read = whole(definition, &mut mistakes);
    let mistakes = mistakes.into_inner();
    match read {
        Some(read) if mistakes.is_empty() => Ok(read),
        _ => Err(Misread(mistakes)),
    }
}

fn whole(definition: &Value, mistakes: &mut Mistakes) -> Option<Definition> {
    let Value::Object(table) = definition else {
        // An empty table says nothing of itself, and any other list has no names.
        mistakes.hinted("name", "is missing", "name it by lower-case letters, digits and dashes");
        return None;
    };
    fields::only(table, &FIELDS, "", mistakes);
    let get = |field: &str| table.get(field);
    let name = match get("name") {
        Some(value) => name(value, mistakes),
        None => {
            mistakes.hinted("name", "is missing", "name it by lower-case letters, digits and dashes");
            None
        }
    };
    let description = get("description")
        .and_then(|value| fields::text(value, "description", LONGEST_DESCRIPTION, mistakes))
        .map(|text| text.trim().to_owned());
    let on = get("on").map(|value| on::read(value, mistakes)).unwrap_or_default();
    let allow = get("allow").and_then(|value| allow(value, mistakes));
    let params = get("params").map(|value| params::read(value, mistakes)).unwrap_or_default();
    let required = params.iter().filter(|(_, parameter)| !on.is_empty() && parameter.default.is_none());
    for (name, _) in required {
        mistakes.hinted(
            &fields::below("params", name),
            "needs a default: a trigger gives none",
            "give it a `default`, or take `on` out and start it by hand",
        );
    }
    let overlaps = [("skip", Overlap::Skip), ("queue", Overlap::Queue), ("replace", Overlap::Replace)];
    let overlap = get("overlap").and_then(|value| fields::word(value, "overlap", &overlaps, mistakes));
    let catch_ups = [("skip", CatchUp::Skip), ("once", CatchUp::Once), ("all", CatchUp::All)];
    let catch_up = get("catch_up").and_then(|value| fields::word(value, "catch_up", &catch_ups, mistakes));
    let bounds = (Duration::from_millis(1), LONGEST_TIMEOUT);
    let timeout = get("timeout").and_then(|value| fields::span(value, "timeout", bounds, mistakes));
    Some(Definition {
        name: name?,
        description,
        allow,
        on,
        params,
        overlap: overlap.unwrap_or_default(),
        catch_up: catch_up.unwrap_or_default(),
        timeout,
    })
}

/// Whether `name` can be a playbook's.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    match name {
        "" => Err("is empty"),
        name if name.len() > LONGEST_NAME => Err("is longer than 63 characters"),
        name if !name.chars().all(|c| is_word(c) || c == '-') => {
            Err("has other characters than lower-case letters, digits and dashes")
        }
        name if !(name.starts_with(is_word) && name.ends_with(is_word)) => Err("begins or ends with a dash"),
        _ => Ok(()),
    }
}

fn name(value: &Value, mistakes: &mut Mistakes) -> Option<String> {
    let text = fields::text(value, "name", 4096, mistakes)?;
    match check_name(&text) {
        Ok(()) => Some(text),
        Err(reason) => {
            let shown = fields::quoted(&text);
            mistakes.hinted("name", format_args!("{reason}: {shown}"), "such as `renew-certificates`");
            None
        }
    }
}

fn allow(value: &Value, mistakes: &mut Mistakes) -> Option<Vec<String>> {
    let mut granted = Vec::new();
    for (index, item) in fields::list(value, "allow", MOST_CAPABILITIES, mistakes)?.iter().enumerate() {
        let path = format!("allow[{}]", index + 1);
        let Some(text) = fields::text(item, &path, 4096, mistakes) else { continue };
        if let Err(mut error) = Capability::from_str(&text) {
            error.message = format!("field `{path}`: {}", error.message);
            mistakes.add(&path, error);
            continue;
        }
        granted.push(text);
    }
    Some(granted)
}
