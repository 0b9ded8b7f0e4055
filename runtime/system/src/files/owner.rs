//! Owns owners of files: `"850:850"`, `"mcq:mcq"`, `"mcq"`. Names come from /etc/passwd and /etc/group only: looking
//! further would mean to load plug-ins of the system into this process.

use std::fmt;
use std::fs;

use effect::{Code, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A user and a group by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// An owner as a script writes it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(super) struct Wish(String);

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.user, self.group)
    }
}

impl Owner {
    /// Reads the form that [`fmt::Display`] writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (user, group) = text.split_once(':')?;
        Some(Self { user: user.parse().ok()?, group: group.parse().ok()? })
    }
}

impl From<String> for Wish {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Wish {
    /// The numbers behind it. Without a group it is the user's own.
    pub(super) fn resolve(&self) -> Result<Owner> {
        let unknown = |what: &str, name: &str| {
            Error::new(
                Code::Argument,
                format!("owner `{}`: there is no {what} `{name}` on this node", self.0),
            )
        };
        let (user_text, group_text) = match self.0.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (self.0.as_str(), None),
        };
        let entry = find("/etc/passwd", user_text);
        let user = number(user_text, entry.as_deref()).ok_or_else(|| unknown("user", user_text))?;
        let group = match group_text {
            Some(name) => {
                number(name, find("/etc/group", name).as_deref()).ok_or_else(|| unknown("group", name))?
            }
            None => entry
                .as_deref()
                .and_then(|entry| entry.split(':').nth(3)?.parse().ok())
                .ok_or_else(|| unknown("group of user", user_text))?,
        };
        Ok(Owner { user, group })
    }
}

/// The name of a user, or the number when it has none.
pub(super) fn user_name(user: u32) -> String {
    name("/etc/passwd", user)
}

/// The name of a group, or the number when it has none.
pub(super) fn group_name(group: u32) -> String {
    name("/etc/group", group)
}

fn number(text: &str, entry: Option<&str>) -> Option<u32> {
    let named = || entry?.split(':').nth(2)?.parse().ok();
    text.parse().ok().or_else(named)
}

fn find(file: &str, wanted: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let matches = |line: &&str| {
        let mut fields = line.split(':');
        fields.next() == Some(wanted) || fields.nth(1) == Some(wanted)
    };
    text.lines().find(matches).map(str::to_owned)
}

fn name(file: &str, number: u32) -> String {
    let number = number.to_string();
    let entry = find(file, &number).filter(|entry| entry.split(':').nth(2) == Some(&number));
    entry.and_then(|entry| entry.split(':').next().map(str::to_owned)).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_numbers_or_names() {
        let resolve = |text: &str| Wish(text.to_owned()).resolve().map(|owner| owner.to_string());
        assert_eq!(resolve("850:851").unwrap(), "850:851");
        assert_eq!(resolve("root:root").unwrap(), "0:0");
        assert_eq!(resolve("root").unwrap(), "0:0");
        assert_eq!(resolve("nobody-at-all").unwrap_err().code, Code::Argument);
        assert_eq!(user_name(0), "root");
    }
}
