//! Owns the names that a certificate is for: DNS names, normalised to their ASCII form, and IP addresses.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use effect::{Code, Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// More names than anybody reads, and what public authorities allow.
const MOST: usize = 100;
/// RFC 1035, section 2.3.4, without the root's empty label.
const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// One name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A DNS name in lower case and ASCII (RFC 5891), which may begin with `*.`.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

impl Name {
    /// Whether it stands for every name one label below.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Dns(name) if name.starts_with("*."))
    }

    /// The DNS name without `*.`; none for an address.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        match self {
            Self::Dns(name) => Some(name.strip_prefix("*.").unwrap_or(name)),
            Self::Ip(_) => None,
        }
    }

    /// Whether it lies in `domain`: is that name or lies beneath it.
    #[must_use]
    pub fn is_within(&self, domain: &str) -> bool {
        self.domain().is_some_and(|name| {
            let rest = name.strip_suffix(domain);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => formatter.write_str(name),
            Self::Ip(address) => address.fmt(formatter),
        }
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(address));
        }
        let shown: String = text.chars().take(80).collect();
        let wrong =
            |why: &str| Error::new(Code::CertificateName, format!("`{shown}` is not a host name: {why}"));
        if text.ends_with('.') {
            return Err(wrong("it ends in a dot").hint("certificates name hosts without the dot of the root"));
        }
        let (star, rest) = match text.strip_prefix("*.") {
            Some(rest) => ("*.", rest),
            None => ("", text),
        };
        // Checked before the conversion, whose cost grows with the text.
        if rest.len() > 4 * LONGEST {
            return Err(wrong("it is longer than 253 characters"));
        }
        let ascii = idna::domain_to_ascii_cow(rest.as_bytes(), idna::AsciiDenyList::URL).map_err(|_| {
            wrong("it has characters that host names cannot have, or breaks the rules of IDNA")
        })?;
        check_ascii(&ascii).map_err(wrong)?;
        if star.len() + ascii.len() > LONGEST {
            return Err(wrong("it is longer than 253 characters"));
        }
        Ok(Self::Dns(format!("{star}{ascii}")))
    }
}

/// RFC 1123, section 2.1: letters, digits and hyphens.
fn check_ascii(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("it has an empty label");
        }
        if label.len() > LONGEST_LABEL {
            return Err("it has a label of more than 63 characters");
        }
        if label.contains('*') {
            return Err("`*` stands only for the whole first label");
        }
        if !label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return Err("labels have letters, digits and hyphens");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a label begins or ends with a hyphen");
        }
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("it ends in a number, and is no IP address");
    }
    Ok(())
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| de::Error::custom(error.message))
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "HostName".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// The names of one certificate: at least one, none twice, in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Names(Vec<Name>);

impl Names {
    /// Checks names as people write them.
    ///
    /// # Errors
    /// `MC-E001` when one cannot stand in a certificate, or when there is none or there are too many.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self> {
        texts.iter().map(|text| text.as_ref().parse()).collect::<Result<Vec<Name>>>().and_then(Self::new)
    }

    /// Takes names that were checked one by one.
    ///
    /// # Errors
    /// `MC-E001` when there is none or there are too many.
    pub fn new(names: Vec<Name>) -> Result<Self> {
        let mut unique: Vec<Name> = Vec::with_capacity(names.len());
        for name in names {
            if !unique.contains(&name) {
                unique.push(name);
            }
        }
        match unique.len() {
            0 => Err(Error::new(Code::CertificateName, "a certificate is for at least one name")),
            count if count > MOST => {
                let message = format!("a certificate is for at most {MOST} names, not {count}");
                Err(Error::new(Code::CertificateName, message).hint("ask for several certificates"))
            }
            _ => Ok(Self(unique)),
        }
    }

    /// The first name, which stands for the whole.
    #[must_use]
    pub fn first(&self) -> &Name {
        self.0.first().expect("there is at least one, `new` checks it")
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Name] {
        &self.0
    }

    /// Whether both name the same, in whatever order.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|name| other.0.contains(name))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(", ")?;
            }
            name.fmt(formatter)?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<Name>::deserialize(deserializer)?;
        Self::new(names).map_err(|error| de::Error::custom(error.message))
    }
}

impl JsonSchema for Names {
    fn schema_name() -> Cow<'static, str> {
        "HostNames".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<Name>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_brought_to_one_form() {
        for (given, kept) in [
            ("MCQ.Example", "mcq.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.mcrun.test", "*.mcrun.test"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:DB8::1", "2001:db8::1"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(given.parse::<Name>().unwrap().to_string(), kept);
        }
    }

    #[test]
    fn what_no_host_is_called_is_refused() {
        let long_label = format!("{}.test", "a".repeat(64));
        let long = ["abcdefg"; 33].join(".");
        for bad in [
            "",
            ".",
            "a..b",
            "host.",
            "-a.test",
            "a-.test",
            "a_b.test",
            "a b",
            "*",
            "*.",
            "a.*.test",
            "**.test",
            "w*.test",
            "1.2.3",
            "256.1.1.1",
            "a/b",
            "a\0b",
            "xn--a.test",
            "host:443",
            "[::1]",
            &long_label,
            &long,
        ] {
            assert_eq!(bad.parse::<Name>().unwrap_err().code, Code::CertificateName, "{bad}");
        }
    }

    #[test]
    fn a_domain_covers_itself_and_what_lies_beneath() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        assert!(name("a.mcrun.test").is_within("mcrun.test"));
        assert!(name("*.mcrun.test").is_within("mcrun.test"));
        assert!(name("mcrun.test").is_within("mcrun.test"));
        assert!(!name("notmcrun.test").is_within("mcrun.test"));
        assert!(!name("192.0.2.1").is_within("1"));
    }
}
