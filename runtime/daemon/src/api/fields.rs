//! Owns what fields of calls may hold: a mistake is told with the field's name.

use effect::{Code, Error, Result};
use journal::{Journal, Run, RunState};
use serde_json::{Map, Value};

/// Letters of an id of a run.
const LONGEST_ID: usize = 13;
/// No name is longer.
const LONGEST_NAME: usize = 253;
/// A JSON text of a caller.
const LARGEST_JSON: usize = 1 << 20;

pub(super) fn wrong(field: &str, why: impl std::fmt::Display) -> Error {
    Error::new(Code::ApiRequest, format!("`{field}`: {why}"))
}

/// The run that `given` names, by its id or the beginning of it.
pub(super) async fn run(journal: &Journal, given: &str) -> Result<Run> {
    let fits = |letter: char| letter.is_ascii_alphanumeric();
    if given.is_empty() || given.len() > LONGEST_ID || !given.chars().all(fits) {
        let why =
            format!("a run is named by its id of {LONGEST_ID} letters and digits, or the beginning of it");
        return Err(wrong("run", why));
    }
    Ok(journal.run(given).await?)
}

/// A text of 1 to `longest` letters without control characters.
pub(super) fn text<'a>(field: &str, given: &'a str, longest: usize) -> Result<&'a str> {
    if given.is_empty() {
        return Err(wrong(field, "it is missing"));
    }
    if given.len() > longest {
        return Err(wrong(field, format!("it has {} octets, the most is {longest}", given.len())));
    }
    if given.chars().any(char::is_control) {
        return Err(wrong(field, "it has control characters"));
    }
    Ok(given)
}

/// A name of a playbook or service.
pub(super) fn name<'a>(field: &str, given: &'a str) -> Result<&'a str> {
    text(field, given, LONGEST_NAME)
}

/// Texts, each as [`text`], and how many there may be.
pub(super) fn texts(field: &str, given: &[String], (most, longest): (usize, usize)) -> Result<()> {
    if given.len() > most {
        return Err(wrong(field, format!("there are {}, the most is {most}", given.len())));
    }
    given.iter().try_for_each(|one| text(field, one, longest).map(drop))
}

/// A JSON object; an empty one where nothing is said.
pub(super) fn object(field: &str, given: &str) -> Result<Value> {
    if given.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    match json(field, given, LARGEST_JSON)? {
        Value::Object(object) => Ok(Value::Object(object)),
        _ => Err(wrong(field, "it is no JSON object")),
    }
}

/// A JSON value.
pub(super) fn json(field: &str, given: &str, largest: usize) -> Result<Value> {
    if given.len() > largest {
        return Err(wrong(field, format!("it has {} octets, the most is {largest}", given.len())));
    }
    serde_json::from_str(given).map_err(|error| wrong(field, "it is no JSON").because(error))
}

/// One of the words.
pub(super) fn word<'a>(field: &str, given: &str, words: &[&'a str]) -> Result<&'a str> {
    let found = words.iter().find(|word| **word == given);
    found.copied().ok_or_else(|| wrong(field, format!("it is one of {}", words.join(", "))))
}

/// A state of a run.
pub(super) fn state(given: Option<&str>) -> Result<Option<RunState>> {
    let words = RunState::ALL.map(RunState::as_str);
    given.map(|given| Ok(word("state", given, &words)?.parse().unwrap_or(RunState::Done))).transpose()
}

/// What makes a call safe to repeat.
pub(super) fn key(given: Option<&str>) -> Result<Option<&str>> {
    let Some(given) = given else { return Ok(None) };
    text("key", given, 128)?;
    if !given.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("key", "it has letters, digits and signs of ASCII only, without spaces"));
    }
    Ok(Some(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_names_its_field() {
        let long = "x".repeat(2 << 20);
        for (field, error) in [
            ("a", text("a", "", 9).unwrap_err()),
            ("b", text("b", "0123456789", 9).unwrap_err()),
            ("c", text("c", "a\nb", 9).unwrap_err()),
            ("d", object("d", "[1]").unwrap_err()),
            ("e", object("e", "{").unwrap_err()),
            ("f", object("f", &long).unwrap_err()),
            ("g", word("g", "halt", &["stop", "start"]).unwrap_err()),
            ("h", texts("h", &["x".into(), "y".into()], (1, 9)).unwrap_err()),
            ("state", state(Some("over")).unwrap_err()),
            ("key", key(Some("a b")).unwrap_err()),
        ] {
            assert_eq!(error.code, Code::ApiRequest);
            assert!(error.message.starts_with(&format!("`{field}`: ")), "{error}");
        }
        assert_eq!(object("a", "").unwrap(), serde_json::json!({}));
        assert_eq!(state(Some("paused")).unwrap(), Some(RunState::Paused));
    }
}
