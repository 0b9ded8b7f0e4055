//! Owns records: types, values in their wire form and as text, and the set of all values that a name has of a type, which
//! is what is described, compared and changed (RFC 2181, section 5).

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use domain::base::iana::{Class, Rtype};
use domain::base::name::ParsedName;
use domain::base::rdata::{ComposeRecordData as _, ParseRecordData as _};
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt as _};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, ScannedRecord, Zonefile};
use effect::{Code, Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::file;
use crate::name::Name;

/// The longest time to live, in seconds (RFC 2181, section 8).
pub const LONGEST_TTL: u32 = i32::MAX.cast_unsigned();
/// Values of one set: their answer must fit one message.
pub const MOST_VALUES: usize = 2000;
/// Octets of one set on the wire, below the 65,535 of a message over TCP (RFC 1035, section 4.2.2).
const LARGEST_SET: usize = 60_000;
/// Octets of one string of a TXT record (RFC 1035, section 3.3).
const LONGEST_STRING: usize = 255;
const LONGEST_TEXT: usize = 70_000;

/// What is parsed of a value.
type Parsed<'a> = ZoneRecordData<&'a [u8], ParsedName<&'a [u8]>>;

/// The type of records.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordType(pub(crate) Rtype);

impl RecordType {
    /// Addresses of IPv4.
    pub const A: Self = Self(Rtype::A);
    /// Addresses of IPv6.
    pub const AAAA: Self = Self(Rtype::AAAA);
    /// Name servers.
    pub const NS: Self = Self(Rtype::NS);
    /// Another name.
    pub const CNAME: Self = Self(Rtype::CNAME);
    /// Another tree.
    pub const DNAME: Self = Self(Rtype::DNAME);
    /// Start of authority.
    pub const SOA: Self = Self(Rtype::SOA);
    /// Text.
    pub const TXT: Self = Self(Rtype::TXT);

    /// The number that IANA gave it.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0.to_int()
    }

    /// The type with this number.
    #[must_use]
    pub fn of(number: u16) -> Self {
        Self(Rtype::from_int(number))
    }

    /// Whether zones have records of it: not of types that only messages have (RFC 6895, section 3.1).
    #[must_use]
    pub fn is_stored(self) -> bool {
        !matches!(self.number(), 0 | 41 | 128..=255)
    }

    /// Whether it is one that has no name here.
    #[must_use]
    pub fn is_generic(self) -> bool {
        self.to_string().starts_with("TYPE")
    }

    /// Whether its values end in a name, and which are then read relative to the zone where they have no dot.
    fn ends_in_name(self) -> bool {
        matches!(self.0, Rtype::CNAME | Rtype::NS | Rtype::PTR | Rtype::DNAME | Rtype::MX | Rtype::SRV)
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for RecordType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl FromStr for RecordType {
    type Err = Error;

    /// `MX`, or `TYPE65280` for one without a name (RFC 3597, section 5).
    fn from_str(text: &str) -> Result<Self> {
        let shown: String = text.chars().take(40).collect();
        let wrong =
            |why: &str| Error::new(Code::DnsValue, format!("`{shown}` is not a type of records: {why}"));
        let found = Rtype::from_str(&text.to_ascii_uppercase())
            .map_err(|_| wrong("nobody has named it; write `TYPE` and its number"))?;
        let found = Self(found);
        if found.is_stored() { Ok(found) } else { Err(wrong("only messages have it, zones do not")) }
    }
}

impl Serialize for RecordType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| de::Error::custom(error.message))
    }
}

impl JsonSchema for RecordType {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RecordType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// One value: its wire form, in which names are whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) Box<[u8]>);

impl Value {
    /// The value that a person writes for a record of `rtype` in `zone`: as in a zone file, where a name with a dot is
    /// whole and one without lies in the zone. TXT without quotes is one text.
    ///
    /// # Errors
    /// `MC-Q002` with what is wrong about it.
    pub fn parse(rtype: RecordType, text: &str, zone: &Name) -> Result<Self> {
        let shown: String = text.chars().take(80).collect();
        let wrong = |why: String| {
            Error::new(Code::DnsValue, format!("`{shown}` is not the value of a record of type {rtype}"))
                .because(why)
        };
        if text.len() > LONGEST_TEXT {
            return Err(wrong("it is longer than a message".into()));
        }
        let is_generic = text.trim_start().starts_with("\\#");
        if rtype == RecordType::TXT && !is_generic && !text.trim_start().starts_with('"') {
            return Ok(Self::text_of(text.as_bytes()));
        }
        if text.contains(['\n', '\r', ';', '(', ')']) && !text.contains('"') {
            return Err(wrong("it goes beyond one line, or has a comment".into()));
        }
        if file::unclosed(text.as_bytes()).is_some() {
            return Err(wrong("a parenthesis is not closed".into()));
        }
        let completed =
            if rtype.ends_in_name() && !is_generic { complete(text, zone) } else { text.to_owned() };
        let mut file = Zonefile::from(format!(". 0 IN {rtype} {completed}\n").as_str());
        file.set_origin(domain::base::Name::root_bytes());
        let first = file.next_entry().map_err(|error| wrong(reason(&error.to_string())))?;
        let rest = file.next_entry().map_err(|error| wrong(reason(&error.to_string())))?;
        match (first, rest) {
            (Some(Entry::Record(record)), None) => Self::of(rtype, &record).map_err(wrong),
            _ => Err(wrong("it is not one record".into())),
        }
    }

    /// The value of a scanned record.
    pub(crate) fn of(rtype: RecordType, record: &ScannedRecord) -> Result<Self, String> {
        let mut wire = Vec::new();
        record.data().compose_rdata(&mut wire).map_err(|_| "it is too long".to_owned())?;
        Self::from_wire(rtype, &wire)
    }

    /// A text of any length, in as many strings as it takes.
    fn text_of(text: &[u8]) -> Self {
        let mut wire = Vec::with_capacity(text.len() + 1 + text.len() / LONGEST_STRING);
        if text.is_empty() {
            wire.push(0);
        }
        for part in text.chunks(LONGEST_STRING) {
            wire.push(u8::try_from(part.len()).expect("chunks are no longer than a string"));
            wire.extend_from_slice(part);
        }
        Self(wire.into())
    }

    /// The value with this wire form, whose names are whole.
    ///
    /// # Errors
    /// Why it is none of a record of `rtype`.
    pub(crate) fn from_wire(rtype: RecordType, wire: &[u8]) -> Result<Self, String> {
        if wire.len() > LARGEST_SET {
            return Err("it is too long for an answer".into());
        }
        parsed(rtype, wire)?;
        // RFC 1035, section 3.3.14; clients take an answer with less for broken.
        if rtype == RecordType::TXT && wire.is_empty() {
            return Err("it has not even one string".into());
        }
        Ok(Self(wire.into()))
    }

    /// The wire form.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The value as a zone file has it.
    #[must_use]
    pub fn text(&self, rtype: RecordType) -> String {
        let Ok(data) = parsed(rtype, &self.0) else { return generic(&self.0) };
        let text = data.display_zonefile(DisplayKind::Simple).to_string();
        // Names within values and parameters of services are written as they are, even where that means something else in
        // a file, or ends its line.
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b" .-_:".contains(&octet);
        let is_safe = !text.is_empty() && text.bytes().all(is_plain);
        if !is_safe && Self::parse(rtype, &text, &Name::root()).as_ref() != Ok(self) {
            return generic(&self.0);
        }
        text
    }

    /// By what values are compared: names in lower case (RFC 4034, section 6.2).
    #[must_use]
    pub fn canonical(&self, rtype: RecordType) -> Vec<u8> {
        let mut wire = Vec::with_capacity(self.0.len());
        match parsed(rtype, &self.0) {
            Ok(data) if data.compose_canonical_rdata(&mut wire).is_ok() => wire,
            _ => self.0.to_vec(),
        }
    }
}

/// RFC 3597, section 5.
fn generic(wire: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = format!("\\# {}", wire.len());
    if !wire.is_empty() {
        text.push(' ');
    }
    for byte in wire {
        let _ = write!(text, "{byte:02X}");
    }
    text
}

fn parsed(rtype: RecordType, wire: &[u8]) -> Result<Parsed<'_>, String> {
    let mut parser = Parser::from_ref(wire);
    match ZoneRecordData::parse_rdata(rtype.0, &mut parser) {
        Ok(Some(data)) if parser.remaining() == 0 => Ok(data),
        Ok(Some(_)) => Err("it has more at its end".into()),
        Ok(None) => Err("the type has no values".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// A name without a dot at the end of `text` lies in the zone.
fn complete(text: &str, zone: &Name) -> String {
    let trimmed = text.trim_end();
    let begin = trimmed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let (before, last) = trimmed.split_at(begin);
    match last {
        "" => trimmed.to_owned(),
        "@" => format!("{before}{}", dotted(zone)),
        last if last.contains('.') => trimmed.to_owned(),
        last => match zone.wire() {
            [0] => format!("{trimmed}."),
            _ => format!("{before}{last}.{}", dotted(zone)),
        },
    }
}

fn dotted(name: &Name) -> String {
    let text = name.to_string();
    if text == "." { text } else { format!("{text}.") }
}

/// What the scanner says, without the place in a line that nobody wrote.
fn reason(said: &str) -> String {
    match said.splitn(3, ':').nth(2).unwrap_or(said).trim() {
        "bad charstr" => "one text has at most 255 octets: write several, each in quotes".to_owned(),
        why => why.to_owned(),
    }
}

/// Every value that a name has of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSet {
    /// The name.
    pub name: Name,
    /// The type.
    pub rtype: RecordType,
    /// How long others may keep it, in seconds.
    pub ttl: u32,
    /// The values: at least one, each once, in canonical order.
    pub values: Vec<Value>,
}

impl RecordSet {
    /// The set with these values.
    ///
    /// # Errors
    /// `MC-Q002` where it has none, too many, or too large ones; `MC-Q003` for two names of a CNAME.
    pub fn new(name: Name, rtype: RecordType, ttl: u32, mut values: Vec<Value>) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(Code::DnsValue, format!("`{name}` cannot have these {rtype} records: {why}"))
        };
        if values.is_empty() {
            return Err(wrong("there is no value").hint("`dns.remove` takes records away"));
        }
        if ttl > LONGEST_TTL {
            return Err(wrong("a time to live has at most 2147483647 seconds"));
        }
        values.sort_by_cached_key(|value| value.canonical(rtype));
        values.dedup_by_key(|value| value.canonical(rtype));
        let size: usize = values.iter().map(|value| value.0.len() + 12).sum();
        if values.len() > MOST_VALUES || size > LARGEST_SET {
            return Err(wrong("an answer has room for 60,000 octets and 2,000 values"));
        }
        if values.len() > 1 && matches!(rtype.0, Rtype::CNAME | Rtype::DNAME | Rtype::SOA) {
            let message = format!("`{name}` cannot have {} {rtype} records", values.len());
            return Err(Error::new(Code::DnsExclusive, message).because("a name has one of them"));
        }
        Ok(Self { name, rtype, ttl, values })
    }

    /// The set as a person writes it, in `zone`.
    ///
    /// # Errors
    /// As [`Name::within`], [`Value::parse`] and [`RecordSet::new`].
    pub fn parse(zone: &Name, name: &str, rtype: RecordType, ttl: u32, values: &[String]) -> Result<Self> {
        let name = Name::within(name, zone)?;
        let values = values.iter().map(|value| Value::parse(rtype, value, zone)).collect::<Result<_>>()?;
        Self::new(name, rtype, ttl, values)
    }

    /// Its values as text.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.values.iter().map(|value| value.text(self.rtype)).collect()
    }

    /// Whether both say the same of the same name: names in values are compared without regard to case.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.name == other.name
            && self.rtype == other.rtype
            && self.ttl == other.ttl
            && self.same_values(other)
    }

    /// Whether both have the same values.
    #[must_use]
    pub fn same_values(&self, other: &Self) -> bool {
        let canonical =
            |set: &Self| set.values.iter().map(|value| value.canonical(set.rtype)).collect::<Vec<_>>();
        canonical(self) == canonical(other)
    }
}

/// The class that every record has here.
pub(crate) const CLASS: Class = Class::IN;

/// The wire form of a name in scanned data.
pub(crate) fn scanned_name(name: &impl domain::base::ToName) -> Result<Name> {
    let whole: domain::base::Name<Bytes> = name.to_bytes();
    Name::from_wire(whole.as_slice())
}

#[cfg(test)]
mod tests;
