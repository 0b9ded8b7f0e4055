//! Owns host names as routes have them: lower case, in their ASCII form, perhaps a wildcard.

use std::fmt;
use std::str::FromStr;

use effect::{Code, Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A name that requests are for, or a pattern of such.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(String);

impl Hostname {
    /// Every name, also none.
    #[must_use]
    pub fn any() -> Self {
        Self("*".into())
    }

    /// As text: `mcq.example.net`, `*.example.net`, `*`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for every name.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// What every name that a wildcard stands for ends with, the dot included.
    #[must_use]
    pub fn wildcard_suffix(&self) -> Option<&str> {
        self.0.strip_prefix('*').filter(|rest| !rest.is_empty())
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// RFC 1123, section 2.1, with underscores, which some names of services have.
fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(fits)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl FromStr for Hostname {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |why: &str| {
            let shown: String = text.chars().take(80).collect();
            Error::new(Code::RouteName, format!("`{shown}` is no host name: {why}"))
        };
        if text == "*" {
            return Ok(Self::any());
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let (wildcard, rest) = match text.strip_prefix("*.") {
            Some(rest) => ("*.", rest),
            None => ("", text),
        };
        let rest = rest.strip_suffix('.').unwrap_or(rest);
        let ascii =
            idna::domain_to_ascii(rest).map_err(|_| refused("it has characters that no host name has"))?;
        if ascii.is_empty() || ascii.len() + wildcard.len() > 253 {
            return Err(refused("it takes 1 to 253 characters"));
        }
        if !ascii.split('.').all(is_label) {
            return Err(refused(
                "a label has 1 to 63 letters, digits and `-`, with `*.` only at the beginning",
            ));
        }
        Ok(Self(format!("{wildcard}{ascii}")))
    }
}

impl Serialize for Hostname {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hostname {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|error: Error| de::Error::custom(error.message))
    }
}

impl JsonSchema for Hostname {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hostname".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for (text, form) in [
            ("MCQ.Example.NET", "mcq.example.net"),
            ("mcq.example.net.", "mcq.example.net"),
            ("*.Example.net", "*.example.net"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*", "*"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(text.parse::<Hostname>().unwrap().as_str(), form);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", ".", "*.", "a..b", "a.*.b", "*a.b", "-a.b", "a b", "a/b", "a:443", "*.*.b"] {
            assert_eq!(text.parse::<Hostname>().unwrap_err().code, Code::RouteName, "{text}");
        }
    }
}
