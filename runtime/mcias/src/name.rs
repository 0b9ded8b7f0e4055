//! Owns the names of accounts, groups, tags and services: one small alphabet, in which no two names look alike by their
//! letters and nothing can be smuggled into a header, a query or a terminal.

use std::fmt;
use std::str::FromStr;

use effect::{Code, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const LONGEST: usize = 64;
/// RFC 5321, section 4.5.3.1.3, without the brackets.
const LONGEST_EMAIL: usize = 254;

/// A name: 1 to 64 of the letters `a` to `z`, digits, `-`, `_` and `.`, beginning and ending with a letter or a digit.
/// Capital letters are taken as small ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let has_good_ends = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric());
        // Two dots would be a way up where a name becomes a path.
        if text.len() <= LONGEST && has_good_ends && text.chars().all(fits) && !text.contains("..") {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(Error::new(Code::IdentityName, format!("`{}` is no name here", shown(text))).hint(
            "names have 1 to 64 of the letters a to z, digits, `-`, `_` and `.`, and begin and end with a letter or a digit",
        ))
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: Error| error.message)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// An e-mail address as far as it matters here: printable ASCII with one `@`. Who has it is another question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Email(String);

impl Email {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | ',' | ';' | '\\');
        let parts = text.split_once('@').filter(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@') && text.chars().all(fits)
        });
        match parts.filter(|_| text.len() <= LONGEST_EMAIL) {
            Some((local, domain)) => Ok(Self(format!("{local}@{}", domain.to_ascii_lowercase()))),
            None => {
                Err(Error::new(Code::IdentityName, format!("`{}` is no e-mail address here", shown(text)))
                    .hint("an address is plain ASCII with one `@`, such as alice@example.org"))
            }
        }
    }
}

impl TryFrom<String> for Email {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: Error| error.message)
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

/// What somebody typed, as it can stand in a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_folded_and_kept_plain() {
        assert_eq!("Alice".parse::<Name>().unwrap().as_str(), "alice");
        assert!("mcp-agent_2.x".parse::<Name>().is_ok());
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_refused() {
        let long = "a".repeat(65);
        for text in [
            "",
            "-a",
            "a-",
            ".a",
            "a..b",
            "a b",
            "a/b",
            "a\0",
            "a\n",
            "а",
            "ａ",
            "ı",
            "a\u{200b}b",
            "a'--",
            "a\r\nX: y",
            "a%2f",
            "a:b",
            "ſ",
            "\u{212a}",
            &long,
        ] {
            let error = text.parse::<Name>().unwrap_err();
            assert_eq!(error.code, Code::IdentityName, "{text:?}");
            assert!(!error.message.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn an_address_has_one_at_and_no_control_characters() {
        assert_eq!("Al@EXAMPLE.org".parse::<Email>().unwrap().as_str(), "Al@example.org");
        for text in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\r\nBcc: x", "<a@b>", "ä@b"] {
            assert_eq!(text.parse::<Email>().unwrap_err().code, Code::IdentityName, "{text:?}");
        }
    }
}
