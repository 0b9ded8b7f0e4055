//! Owns the way through the JSON of a definition: which fields a table has, what each may be, and what is said where one is
//! not. Every mistake is gathered, so that one look at the file is enough.

use std::fmt::Display;
use std::time::Duration;

use effect::policy::nearest;
use effect::units::Span;
use effect::{Code, Error};
use serde_json::{Map, Value};

/// More mistakes than anybody wants to read.
const MOST: usize = 20;
/// What is repeated of a value that is wrong.
const SHOWN: usize = 64;

/// Something that is wrong in a definition.
#[derive(Debug, Clone)]
pub(super) struct Mistake {
    /// The field, `on.cron[2].zone`; empty for the whole.
    pub(super) path: String,
    /// What is wrong, and what is allowed.
    pub(super) error: Error,
}

/// What is wrong in a definition, in the order of its fields.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(super) fn add(&mut self, path: &str, error: Error) {
        if self.0.len() < MOST {
            self.0.push(Mistake { path: path.to_owned(), error });
        }
    }

    /// A value that is not what its field takes.
    pub(super) fn wrong(&mut self, path: &str, message: impl Display) {
        self.add(path, Error::new(Code::PlaybookField, format!("field `{path}` {message}")));
    }

    pub(super) fn hinted(&mut self, path: &str, message: impl Display, hint: impl Into<String>) {
        self.add(path, Error::new(Code::PlaybookField, format!("field `{path}` {message}")).hint(hint));
    }

    pub(super) fn into_inner(self) -> Vec<Mistake> {
        self.0
    }
}

/// What a value is, in the words of a script.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("`{number}`"),
        Value::String(text) => quoted(text),
        Value::Array(items) if items.is_empty() => "an empty table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
    }
}

/// A text that somebody else wrote, in few words and without control characters.
pub(super) fn quoted(text: &str) -> String {
    let shown: String =
        text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let rest = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    format!("`{shown}{rest}`")
}

/// The path of a field of `path`; a key that is no name is shown in brackets.
pub(super) fn below(path: &str, key: &str) -> String {
    let is_name = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && key.len() <= SHOWN;
    match (is_name, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[\"{}\"]", quoted(key).trim_matches('`')),
    }
}

/// The fields of a table. An empty table of Lua is a list as well.
pub(super) fn object<'a>(
    value: &'a Value,
    path: &str,
    mistakes: &mut Mistakes,
) -> Option<&'a Map<String, Value>> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    match value {
        Value::Object(fields) => Some(fields),
        Value::Array(items) if items.is_empty() => Some(&NONE),
        other => {
            mistakes.wrong(path, format_args!("must be a table with named fields, not {}", kind(other)));
            None
        }
    }
}

/// Names every field that a table must not have.
pub(super) fn only(fields: &Map<String, Value>, known: &[&str], path: &str, mistakes: &mut Mistakes) {
    for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
        let owner = if path.is_empty() { "a playbook".to_owned() } else { format!("`{path}`") };
        let message = format!("field `{}` is unknown: {owner} has {}", below(path, key), known.join(", "));
        let error = Error::new(Code::PlaybookField, message);
        mistakes.add(
            &below(path, key),
            match nearest(key, known.iter().copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            },
        );
    }
}

/// A text of at most `most` bytes that is not empty.
pub(super) fn text(value: &Value, path: &str, most: usize, mistakes: &mut Mistakes) -> Option<String> {
    match value {
        Value::String(text) if text.is_empty() => mistakes.wrong(path, "is empty"),
        Value::String(text) if text.len() > most => {
            mistakes.wrong(path, format_args!("is longer than {most} bytes"));
        }
        Value::String(text) if text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') => {
            mistakes.wrong(path, "holds control characters");
        }
        Value::String(text) => return Some(text.clone()),
        other => mistakes.wrong(path, format_args!("must be a string, not {}", kind(other))),
    }
    None
}

/// A duration between two bounds.
pub(super) fn span(
    value: &Value,
    path: &str,
    (least, most): (Duration, Duration),
    mistakes: &mut Mistakes,
) -> Option<Duration> {
    let read = match value {
        Value::String(text) => text.parse::<Span>().map_err(|error| error.to_string()),
        Value::Number(number) => format!("{number}s").parse::<Span>().map_err(|error| error.to_string()),
        other => Err(format!("{} is not a duration such as \"30s\"", kind(other))),
    };
    match read {
        Ok(span) if (least..=most).contains(&span.0) => Some(span.0),
        Ok(span) => {
            let (least, most) = (Span(least), Span(most));
            mistakes.wrong(path, format_args!("must be between {least} and {most}, not {span}"));
            None
        }
        Err(reason) => {
            mistakes.wrong(path, format_args!("is no duration: {reason}"));
            None
        }
    }
}

/// One of some words.
pub(super) fn word<T: Copy>(
    value: &Value,
    path: &str,
    words: &[(&str, T)],
    mistakes: &mut Mistakes,
) -> Option<T> {
    let known = || words.iter().map(|(word, _)| *word);
    let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
    if let Some((_, meaning)) = found {
        return Some(*meaning);
    }
    let all = known().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let message = format!("must be one of {all}, not {}", kind(value));
    match value.as_str().and_then(|text| nearest(text, known())) {
        Some(near) => mistakes.hinted(path, message, format!("did you mean \"{near}\"?")),
        None => mistakes.wrong(path, message),
    }
    None
}

/// The items of a list of at most `most`.
pub(super) fn list<'a>(
    value: &'a Value,
    path: &str,
    most: usize,
    mistakes: &mut Mistakes,
) -> Option<&'a [Value]> {
    match value {
        Value::Array(items) if items.len() > most => {
            mistakes.wrong(path, format_args!("has more than {most} items"));
            None
        }
        Value::Array(items) => Some(items),
        other => {
            mistakes.wrong(path, format_args!("must be a list, not {}", kind(other)));
            None
        }
    }
}
