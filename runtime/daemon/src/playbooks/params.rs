//! Owns parameters: how `params` is read from a file, and how what somebody gives is checked against it. All mistakes of a
//! call are told at once.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use effect::policy::nearest;
use effect::units::{Size, Span};
use effect::{Code, Error, Result};
use serde_json::{Map, Value};

use super::fields::{self, Mistakes, below};
use super::{Parameter, ParameterKind};

const MOST: usize = 64;
const MOST_CHOICES: usize = 256;
const LONGEST_TEXT: usize = 64 << 10;
/// Whole numbers beyond this are not exact in a script.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What cannot be a parameter's name, because `mcrun start NAME` takes it itself.
pub const RESERVED: [&str; 16] = [
    "all", "allow", "config", "deny", "detach", "help", "json", "limit", "no_input", "plan", "quiet",
    "state", "verbose", "version", "wait", "yes",
];

/// The types of parameters, by the word that a file writes.
pub const KINDS: [(&str, ParameterKind); 6] = [
    ("string", ParameterKind::String),
    ("number", ParameterKind::Number),
    ("integer", ParameterKind::Integer),
    ("boolean", ParameterKind::Boolean),
    ("duration", ParameterKind::Duration),
    ("size", ParameterKind::Size),
];

impl ParameterKind {
    /// The word that a file writes.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Size => "size",
        }
    }

    fn takes(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Number => "a number",
            Self::Integer => "a whole number",
            Self::Boolean => "`true` or `false`",
            Self::Duration => "a duration such as \"30s\" or \"1h30m\"",
            Self::Size => "a size such as \"64MiB\"",
        }
    }

    /// `value` as a script gets it, if it is of this type.
    fn accept(self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Self::String, Value::String(text)) => (text.len() <= LONGEST_TEXT).then(|| value.clone()),
            (Self::Boolean, Value::Bool(_)) | (Self::Number, Value::Number(_)) => Some(value.clone()),
            (Self::Integer, Value::Number(number)) => {
                let number = number.as_f64()?;
                (number.fract() == 0.0 && number.abs() < EXACT).then(|| Value::from(number as i64))
            }
            (Self::Duration, Value::String(text)) => text.parse().ok().map(|span: Span| shown(&span)),
            (Self::Duration, Value::Number(number)) => {
                format!("{number}s").parse().ok().map(|span: Span| shown(&span))
            }
            (Self::Size, Value::String(text)) => text.parse().ok().map(|size: Size| shown(&size)),
            (Self::Size, Value::Number(number)) => number.as_u64().map(|bytes| shown(&Size(bytes))),
            _ => None,
        }
    }

    /// What a word of a command line means.
    fn of_word(self, word: &str) -> Value {
        match self {
            Self::Number | Self::Integer | Self::Boolean => {
                serde_json::from_str(word).unwrap_or_else(|_| Value::from(word))
            }
            Self::String | Self::Duration | Self::Size => Value::from(word),
        }
    }
}

fn shown(value: &impl ToString) -> Value {
    Value::from(value.to_string())
}

pub(super) fn read(value: &Value, mistakes: &mut Mistakes) -> BTreeMap<String, Parameter> {
    let mut params = BTreeMap::new();
    let Some(fields) = fields::object(value, "params", mistakes) else { return params };
    if fields.len() > MOST {
        mistakes.wrong("params", format_args!("has more than {MOST} parameters"));
        return params;
    }
    for (name, value) in fields {
        let path = below("params", name);
        if let Err(reason) = check_name(name) {
            mistakes.hinted(&path, reason, "names are lower-case letters, digits and underscores");
            continue;
        }
        if let Some(parameter) = parameter(value, &path, mistakes) {
            params.insert(name.clone(), parameter);
        }
    }
    params
}

fn check_name(name: &str) -> std::result::Result<(), &'static str> {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(of_name) || name.len() > 63 {
        return Err("is no name of a parameter");
    }
    if name.starts_with("no_") {
        return Err("cannot begin with `no_`, by which a boolean is turned off");
    }
    if RESERVED.contains(&name) { Err("is taken: `mcrun start` has an option of that name") } else { Ok(()) }
}

fn parameter(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Parameter> {
    let fields = match value {
        Value::Object(fields) => fields,
        other => {
            let kind = fields::kind(other);
            mistakes.hinted(
                path,
                format_args!("must be a table, not {kind}"),
                "such as { type = \"boolean\" }",
            );
            return None;
        }
    };
    fields::only(fields, &["type", "description", "default", "choices"], path, mistakes);
    let Some(word) = fields.get("type") else {
        let known: Vec<_> = KINDS.iter().map(|(word, _)| *word).collect();
        mistakes.wrong(path, format_args!("has no `type`, one of {}", known.join(", ")));
        return None;
    };
    let kind = fields::word(word, &below(path, "type"), &KINDS, mistakes)?;
    let description = fields
        .get("description")
        .and_then(|value| fields::text(value, &below(path, "description"), 1024, mistakes));
    let choices = match fields.get("choices") {
        Some(value) => choices(kind, value, &below(path, "choices"), mistakes)?,
        None => Vec::new(),
    };
    let default = match fields.get("default") {
        Some(value) => Some(default(kind, &choices, value, &below(path, "default"), mistakes)?),
        None => None,
    };
    Some(Parameter { kind, description, default, choices })
}

fn choices(kind: ParameterKind, value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Vec<Value>> {
    if kind == ParameterKind::Boolean {
        mistakes.wrong(path, "has no meaning for a boolean");
        return None;
    }
    let items = fields::list(value, path, MOST_CHOICES, mistakes)?;
    if items.is_empty() {
        mistakes.wrong(path, "is empty");
        return None;
    }
    let mut choices = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{}]", index + 1);
        match kind.accept(item) {
            Some(choice) if choices.contains(&choice) => mistakes.wrong(&path, "is there twice"),
            Some(choice) => choices.push(choice),
            None => {
                mistakes.wrong(&path, format_args!("must be {}, not {}", kind.takes(), fields::kind(item)))
            }
        }
    }
    Some(choices)
}

fn default(
    kind: ParameterKind,
    choices: &[Value],
    value: &Value,
    path: &str,
    mistakes: &mut Mistakes,
) -> Option<Value> {
    match accepted(kind, choices, value) {
        Ok(value) => Some(value),
        Err(reason) => {
            mistakes.wrong(path, reason);
            None
        }
    }
}

fn accepted(kind: ParameterKind, choices: &[Value], value: &Value) -> std::result::Result<Value, String> {
    let Some(value) = kind.accept(value) else {
        return Err(format!("must be {}, not {}", kind.takes(), fields::kind(value)));
    };
    if choices.is_empty() || choices.contains(&value) {
        return Ok(value);
    }
    let known: Vec<String> = choices.iter().map(plain).collect();
    Err(format!("must be one of {}, not {}", known.join(", "), fields::kind(&value)))
}

/// A value as a command line would give it.
#[must_use]
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What is wrong with what was given, all at once.
#[derive(Default)]
struct Refused(Vec<(String, Option<String>)>);

impl Refused {
    fn add(&mut self, message: String) {
        self.0.push((message, None));
    }

    fn into_error(self) -> Option<Error> {
        let mut refused = self.0.into_iter();
        let (message, hint) = refused.next()?;
        let mut error = Error::new(Code::Parameters, message);
        error.hint = hint;
        for (message, hint) in refused.take(MOST) {
            let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            error = error.detail(format!("{message}{hint}"));
        }
        Some(error)
    }

    fn unknown(&mut self, name: &str, params: &BTreeMap<String, Parameter>) {
        let near = nearest(name, params.keys().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if params.is_empty() => "this playbook has no parameters".to_owned(),
            None => format!("there are {}", params.keys().cloned().collect::<Vec<_>>().join(", ")),
        };
        self.0.push((format!("parameter {} is unknown", fields::quoted(name)), Some(hint)));
    }
}

/// What a run gets: what is `given`, a JSON object, checked, and every default.
///
/// # Errors
/// `MC-L005` with everything that is missing, unknown or of another type.
pub fn check(params: &BTreeMap<String, Parameter>, given: &Value) -> Result<Value> {
    let mut refused = Refused::default();
    let checked = checked(params, given, &mut refused);
    match refused.into_error() {
        Some(error) => Err(error),
        None => Ok(Value::Object(checked)),
    }
}

fn checked(params: &BTreeMap<String, Parameter>, given: &Value, refused: &mut Refused) -> Map<String, Value> {
    let none = Map::new();
    let given = match given {
        Value::Object(given) => given,
        Value::Null => &none,
        other => {
            refused.add(format!("parameters are a table by name, not {}", fields::kind(other)));
            &none
        }
    };
    for name in given.keys().filter(|name| !params.contains_key(*name)) {
        refused.unknown(name, params);
    }
    let mut checked = Map::new();
    for (name, parameter) in params {
        match (given.get(name).filter(|value| !value.is_null()), &parameter.default) {
            (Some(value), _) => match accepted(parameter.kind, &parameter.choices, value) {
                Ok(value) => drop(checked.insert(name.clone(), value)),
                Err(reason) => refused.add(format!("parameter `{name}` {reason}")),
            },
            (None, Some(default)) => drop(checked.insert(name.clone(), default.clone())),
            (None, None) => refused.add(format!("parameter `{name}` is missing, {}", parameter.kind.takes())),
        }
    }
    checked
}

/// What `--set NAME=VALUE` gives, checked as by [`check`].
///
/// # Errors
/// As [`check`].
pub fn check_settings<'a>(
    params: &BTreeMap<String, Parameter>,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Value> {
    let mut given = Map::new();
    for (name, text) in settings {
        let value = params.get(name).map_or_else(|| Value::from(text), |found| found.kind.of_word(text));
        given.insert(name.to_owned(), value);
    }
    check(params, &Value::Object(given))
}

/// What the words of a command line give, `--tag v2`, `--tag=v2`, `--force`, `--no-force`, checked as by [`check`]. Dashes
/// stand for underscores.
///
/// # Errors
/// As [`check`]; a word that belongs to no parameter; a parameter that is given twice.
pub fn check_words(params: &BTreeMap<String, Parameter>, words: &[String]) -> Result<Value> {
    let mut refused = Refused::default();
    let given = given_by(params, words, &mut refused);
    // What was understood wrongly is not missing.
    let understood = refused.0.is_empty();
    let checked = checked(params, &Value::Object(given), &mut refused);
    if !understood {
        refused.0.retain(|(message, _)| !message.contains(" is missing, "));
    }
    match refused.into_error() {
        Some(error) => Err(error),
        None => Ok(Value::Object(checked)),
    }
}

fn given_by(
    params: &BTreeMap<String, Parameter>,
    words: &[String],
    refused: &mut Refused,
) -> Map<String, Value> {
    let mut given = Map::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let Some(option) = word.strip_prefix("--").filter(|option| !option.is_empty()) else {
            let shown = fields::quoted(word);
            let hint = "parameters are given as `--NAME VALUE`".to_owned();
            refused.0.push((format!("{shown} belongs to no parameter"), Some(hint)));
            continue;
        };
        let (option, attached) = match option.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (option, None),
        };
        let name = option.replace('-', "_");
        let turned_off = name.strip_prefix("no_").and_then(|name| {
            params.get_key_value(name).filter(|(_, found)| found.kind == ParameterKind::Boolean)
        });
        let (name, value) = match (turned_off, params.get_key_value(&name)) {
            (Some((name, _)), _) if attached.is_none() => (name, Value::Bool(false)),
            (Some((name, _)), _) => {
                refused.add(format!("`--no-{}` takes no value", name.replace('_', "-")));
                continue;
            }
            (None, None) => {
                refused.unknown(&name, params);
                // Its value, most likely.
                if attached.is_none() {
                    words.next_if(|next| !next.starts_with("--"));
                }
                continue;
            }
            (None, Some((name, found))) => match (attached, found.kind) {
                (Some(value), kind) => (name, kind.of_word(value)),
                (None, ParameterKind::Boolean) => {
                    let said = words.next_if(|next| matches!(next.as_str(), "true" | "false"));
                    (name, Value::Bool(said.is_none_or(|said| said == "true")))
                }
                (None, kind) => match words.next_if(|next| !next.starts_with("--")) {
                    Some(value) => (name, kind.of_word(value)),
                    None => {
                        refused.add(format!("parameter `{name}` has no value: it takes {}", kind.takes()));
                        continue;
                    }
                },
            },
        };
        if given.insert(name.clone(), value).is_some() {
            refused.add(format!("parameter `{name}` is given twice"));
        }
    }
    given
}
