//! Owns names: absolute, in lower case, in the form in which they go over the wire, so that they are compared, hashed and
//! cut at labels without being read again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use domain::base::name::Name as WireName;
use effect::{Code, Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Octets of a name on the wire, the root's empty label included (RFC 1035, section 2.3.4).
pub const LONGEST: usize = 255;
/// Labels of a name, the root's included: one octet and its length each.
pub const MOST_LABELS: usize = 128;

/// An absolute name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    wire: Arc<[u8]>,
}

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self { wire: Arc::from([0]) }
    }

    /// The name with this wire form, which is checked and put into lower case.
    ///
    /// # Errors
    /// `MC-Q001` where it is none: a label too long, no root at its end, a pointer.
    pub fn from_wire(wire: &[u8]) -> Result<Self> {
        let name = WireName::from_slice(wire)
            .map_err(|error| Error::new(Code::DnsName, "this is not a name").because(error))?;
        Ok(Self { wire: name.as_slice().to_ascii_lowercase().into() })
    }

    /// The name with this wire form in lower case, which was checked before.
    pub(crate) fn trusted(wire: &[u8]) -> Self {
        Self { wire: wire.into() }
    }

    /// The name of a zone or host as a person writes it: absolute, with or without the dot of the root, in any alphabet.
    ///
    /// # Errors
    /// `MC-Q001` naming what is wrong about it.
    pub fn absolute(text: &str) -> Result<Self> {
        if text == "." {
            return Ok(Self::root());
        }
        Self::parse(text.strip_suffix('.').filter(|rest| !rest.ends_with('\\')).unwrap_or(text), text)
    }

    /// The name that `text` is in `zone`: `@` is the zone itself, and what does not end with a dot lies beneath it.
    ///
    /// # Errors
    /// `MC-Q001` for what is no name, `MC-Q004` where it lies outside of the zone.
    pub fn within(text: &str, zone: &Self) -> Result<Self> {
        if text == "@" || text.is_empty() {
            return Ok(zone.clone());
        }
        let name = if is_whole(text) {
            Self::absolute(text)?
        } else {
            Self::parse(text, text)?.followed_by(zone)?
        };
        if name.is_within(zone) {
            return Ok(name);
        }
        let message = format!("`{name}` lies outside of the zone `{zone}`");
        Err(Error::new(Code::DnsZone, message)
            .hint("without a dot at its end a name is relative to the zone"))
    }

    fn parse(text: &str, shown: &str) -> Result<Self> {
        let shown: String = shown.chars().take(80).collect();
        let wrong = |why: &str| Error::new(Code::DnsName, format!("`{shown}` is not a name: {why}"));
        // Checked before the conversion, whose cost grows with the text; `\000` takes four characters.
        if text.len() > 4 * LONGEST {
            return Err(wrong("it is longer than 253 characters"));
        }
        // What a file separates by, a mistake rather than a part of a name; `\032` says that it is meant.
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong("it has a space or a control character"));
        }
        let ascii = if text.is_ascii() { text.into() } else { to_ascii(text).ok_or_else(|| wrong(IDNA))? };
        let name =
            WireName::<Vec<u8>>::from_str(&ascii).map_err(|error| match error.to_string().as_str() {
                "label length limit exceeded" => wrong("a label has at most 63 octets"),
                "empty label" => wrong("there is nothing between two dots"),
                why => wrong(why),
            })?;
        Ok(Self { wire: name.as_slice().to_ascii_lowercase().into() })
    }

    /// This name, with that of `zone` in the place of the root.
    fn followed_by(&self, zone: &Self) -> Result<Self> {
        let wire = [&self.wire[..self.wire.len() - 1], &zone.wire].concat();
        if wire.len() > LONGEST {
            let message = format!("`{self}` is too long a name in `{zone}`");
            return Err(Error::new(Code::DnsName, message).because("a name has at most 253 characters"));
        }
        Ok(Self { wire: wire.into() })
    }

    /// The wire form, in lower case and with the root's empty label.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// Whether it is `zone` or lies beneath it.
    #[must_use]
    pub fn is_within(&self, zone: &Self) -> bool {
        let Some(at) = self.wire.len().checked_sub(zone.wire.len()) else { return false };
        self.wire[at..] == *zone.wire && suffixes(&self.wire).any(|offset| offset == at)
    }

    /// Whether it stands for names that are not there (RFC 4592).
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wire.starts_with(b"\x01*")
    }

    /// Its labels without the root's.
    #[must_use]
    pub fn labels(&self) -> usize {
        suffixes(&self.wire).count() - 1
    }

    /// The name without its first label; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let after = suffixes(&self.wire).nth(1)?;
        Some(Self { wire: self.wire[after..].into() })
    }

    /// The name as it is written in `zone`: relative, `@` for the zone itself, and absolute where it lies outside.
    #[must_use]
    pub fn in_zone(&self, zone: &Self) -> String {
        if self == zone {
            return "@".into();
        }
        if !self.is_within(zone) || *zone.wire == [0] {
            return format!("{self}.");
        }
        let mut own = self.wire[..self.wire.len() - zone.wire.len()].to_vec();
        own.push(0);
        Self { wire: own.into() }.to_string()
    }
}

const IDNA: &str = "it breaks the rules of internationalised names (RFC 5891)";

/// Whether the last dot is that of the root, and not escaped.
fn is_whole(text: &str) -> bool {
    let before = text.strip_suffix('.').unwrap_or("\\");
    (before.len() - before.trim_end_matches('\\').len()).is_multiple_of(2)
}

/// The ASCII form of labels that are not; labels that are ASCII stay, underscores and stars included.
fn to_ascii(text: &str) -> Option<String> {
    let labels = text.split('.').map(|label| match label.is_ascii() {
        true => Some(label.to_owned()),
        false => idna::domain_to_ascii_cow(label.as_bytes(), idna::AsciiDenyList::URL)
            .ok()
            .filter(|label| !label.is_empty())
            .map(std::borrow::Cow::into_owned),
    });
    Some(labels.collect::<Option<Vec<_>>>()?.join("."))
}

/// Where each suffix of a name in wire form begins, the whole first and the root last.
pub(crate) fn suffixes(wire: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let at = next?;
        let length = usize::from(*wire.get(at)?);
        next = (length > 0).then_some(at + 1 + length);
        Some(at)
    })
}

impl fmt::Display for Name {
    /// Without the dot of the root, as people write host names; the root itself is `.`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self.wire == [0] {
            return formatter.write_str(".");
        }
        for (number, at) in suffixes(&self.wire).take(self.labels()).enumerate() {
            if number > 0 {
                formatter.write_str(".")?;
            }
            let length = usize::from(self.wire[at]);
            self.wire[at + 1..=at + length].iter().try_for_each(|octet| write_octet(*octet, formatter))?;
        }
        Ok(())
    }
}

/// As zone files have it (RFC 1035, section 5.1): what means something there is escaped, or a name could end its line,
/// stand for its zone, or begin a command.
fn write_octet(octet: u8, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    match octet {
        b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
            write!(formatter, "\\{}", char::from(octet))
        }
        b'!'..=b'~' => write!(formatter, "{}", char::from(octet)),
        _ => write!(formatter, "\\{octet:03}"),
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{self}`")
    }
}

/// By zones: a name comes before those beneath it (RFC 4034, section 6.1).
impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        match (WireName::from_slice(&self.wire), WireName::from_slice(&other.wire)) {
            (Ok(one), Ok(other)) => one.cmp(other),
            _ => self.wire.cmp(&other.wire),
        }
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::absolute(&text).map_err(|error| de::Error::custom(error.message))
    }
}

impl JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests;
