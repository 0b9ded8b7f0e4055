//! Owns zone files (RFC 1035, section 5): reading one with the place of every mistake, and writing one that others read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::base::iana::Rtype;
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, ScannedRecord, Zonefile};
use effect::{Code, Error, Result};

use crate::driver::Zone;
use crate::name::Name;
use crate::record::{CLASS, LONGEST_TTL, RecordSet, RecordType, Value, scanned_name};

/// Octets of a file.
pub const LARGEST: usize = 256 << 20;
/// Records of one.
pub const MOST_RECORDS: usize = 4_000_000;

/// What a zone file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its SOA, if it has one.
    pub soa: Option<Zone>,
    /// Every other set, by name and type.
    pub sets: Vec<RecordSet>,
}

/// Reads a zone file for `zone`; `file` is what mistakes are told of.
///
/// # Errors
/// `MC-Q005` with file, line and column where it does not read as one, has names outside of the zone, or includes other
/// files.
pub fn read(text: &[u8], zone: &Name, file: &str) -> Result<Contents> {
    let wrong = |place: String, why: String| {
        Error::new(Code::DnsZoneFile, format!("{file}:{place}: {why}"))
            .hint("nothing of the file was taken over")
    };
    if text.len() > LARGEST {
        return Err(wrong("1:1".into(), "the file is larger than 256 MiB".into()));
    }
    if let Some(line) = unclosed(text) {
        return Err(wrong(format!("{line}:1"), "a parenthesis is not closed".into()));
    }
    let mut scanner = Zonefile::from(text);
    // The scanner takes a last line without a break for one that was cut.
    scanner.extend_from_slice(b"\n");
    scanner.set_origin(domain::base::Name::from_octets(zone.wire().to_vec().into()).map_err(|error| {
        Error::new(Code::Internal, "the name of a zone cannot be an origin").because(error)
    })?);
    scanner.set_default_class(CLASS);
    let (mut soa, mut sets, mut count) = (None, Sets::default(), 0);
    let mut lines = Lines { text, at: 0, line: 1 };
    loop {
        let entry = scanner.next_entry().map_err(|error| {
            let said = error.to_string();
            let mut parts = said.splitn(3, ':').map(str::trim);
            match (parts.next(), parts.next(), parts.next()) {
                (Some(line), Some(column), Some(why)) => wrong(place_of(line, column), why.to_owned()),
                _ => wrong("1:1".into(), said),
            }
        })?;
        let Some(entry) = entry else { break };
        let line = lines.reach(scanner.current_offset());
        let here = |why: String| wrong(format!("{line}:1"), why);
        let Entry::Record(record) = entry else {
            return Err(here("`$INCLUDE` is not followed: put both into one file".into()));
        };
        count += 1;
        if count > MOST_RECORDS {
            return Err(here("a zone has at most four million records".into()));
        }
        let name = scanned_name(record.owner()).map_err(|error| here(error.message))?;
        if record.class() != CLASS {
            return Err(here(format!("records of the class {} are not served", record.class())));
        }
        if !name.is_within(zone) {
            return Err(here(format!("`{name}` lies outside of the zone `{zone}`")));
        }
        if let ZoneRecordData::Soa(data) = record.data() {
            if name != *zone || soa.is_some() {
                return Err(here("a zone has one SOA, at its own name".into()));
            }
            soa = Some(Zone {
                zone: zone.clone(),
                serial: data.serial().into_int(),
                primary: scanned(data.mname(), zone).map_err(|error| here(error.message))?,
                admin: scanned(data.rname(), zone).map_err(|error| here(error.message))?,
                refresh: data.refresh().as_secs(),
                retry: data.retry().as_secs(),
                expire: data.expire().as_secs(),
                minimum: data.minimum().as_secs(),
            });
        } else {
            sets.add(zone, name, &record).map_err(here)?;
        }
    }
    Ok(Contents {
        soa,
        sets: sets.finish().map_err(|(line, error)| wrong(format!("{line}:1"), error.message))?,
    })
}

/// The name of a host in scanned data of the zone `zone`.
fn scanned(name: &impl domain::base::ToName, zone: &Name) -> Result<Name> {
    let name = scanned_name(name)?;
    Ok(as_origin(name.wire(), zone).unwrap_or(name))
}

/// Where the name of a host begins in values of a type, and nothing comes after it.
fn host(rtype: RecordType) -> Option<usize> {
    match rtype.0 {
        Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR => Some(0),
        Rtype::MX => Some(2),
        Rtype::SRV => Some(6),
        _ => None,
    }
}

/// The origin that a name in a value is where it was written as a lone `@` (RFC 1035, section 5.1): the scanner (`domain`
/// 0.12.3) takes that for a label. No host is called so.
fn as_origin(wire: &[u8], zone: &Name) -> Option<Name> {
    let rest = wire.strip_prefix(b"\x01@")?;
    Name::from_wire(rest).ok().filter(|origin| origin.is_within(zone))
}

/// The line of the first parenthesis that stays open to the end. The scanner panics there where it expects strings (`domain`
/// 0.12.3), so it must not get to see such a text.
pub(crate) fn unclosed(text: &[u8]) -> Option<usize> {
    let (mut line, mut opened, mut depth) = (1, 1, 0_usize);
    let (mut is_quoted, mut is_comment, mut is_escaped) = (false, false, false);
    for octet in text {
        match octet {
            b'\n' => {
                line += 1;
                is_comment = false;
            }
            _ if is_escaped || is_comment => {}
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b';' => is_comment = true,
            b'(' => {
                opened = if depth == 0 { line } else { opened };
                depth += 1;
            }
            // One too many is what the scanner itself refuses.
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_escaped = *octet == b'\\' && !is_escaped && !is_comment;
    }
    (depth > 0).then_some(opened)
}

/// Where the mistake is: the scanner has gone to the next line where it was the last word of one.
fn place_of(line: &str, column: &str) -> String {
    match line.parse::<usize>() {
        Ok(line) if column == "1" && line > 1 => format!("{}:1", line - 1),
        _ => format!("{line}:{column}"),
    }
}

/// Sets while they are gathered, each with the smallest time to live that its records have (RFC 2181, section 5.2).
#[derive(Default)]
struct Sets {
    found: BTreeMap<(Name, RecordType), (u32, Vec<Value>)>,
}

impl Sets {
    fn add(&mut self, zone: &Name, name: Name, record: &ScannedRecord) -> Result<(), String> {
        let rtype = RecordType(record.rtype());
        if !rtype.is_stored() {
            return Err(format!("zones do not have records of type {rtype}"));
        }
        let ttl = record.ttl().as_secs();
        if ttl > LONGEST_TTL {
            return Err("a time to live has at most 2147483647 seconds".into());
        }
        let mut value = Value::of(rtype, record)?;
        if let Some(at) = host(rtype)
            && let Some(origin) = value.wire().get(at..).and_then(|wire| as_origin(wire, zone))
        {
            let wire = [&value.wire()[..at], origin.wire()].concat();
            value = Value::from_wire(rtype, &wire)?;
        }
        let set = self.found.entry((name, rtype)).or_insert_with(|| (ttl, Vec::new()));
        set.0 = set.0.min(ttl);
        set.1.push(value);
        Ok(())
    }

    fn finish(self) -> Result<Vec<RecordSet>, (usize, Error)> {
        let sets = self.found.into_iter();
        sets.map(|((name, rtype), (ttl, values))| {
            RecordSet::new(name, rtype, ttl, values).map_err(|error| (1, error))
        })
        .collect()
    }
}

/// Counts lines up to where the scanner is, each line once.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line of the entry that ends at `offset`.
    fn reach(&mut self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        let breaks = |part: &[u8]| part.iter().filter(|byte| **byte == b'\n').count();
        self.line += breaks(&self.text[self.at.min(end)..end]);
        self.at = end;
        // The entry's own line break has been read with it.
        if end > 0 && self.text[end - 1] == b'\n' { self.line - 1 } else { self.line }
    }
}

/// The zone as a file that other servers read: the SOA first, then by name and type.
#[must_use]
pub fn write(zone: &Zone, sets: &[RecordSet]) -> String {
    let mut text = format!("$ORIGIN {}\n", dotted(&zone.zone));
    let mut line = |name: &Name, ttl: u32, rtype: RecordType, value: &str| {
        let _ = writeln!(text, "{}\t{ttl}\tIN\t{rtype}\t{value}", name.in_zone(&zone.zone));
    };
    let soa = format!(
        "{} {} {} {} {} {} {}",
        dotted(&zone.primary),
        dotted(&zone.admin),
        zone.serial,
        zone.refresh,
        zone.retry,
        zone.expire,
        zone.minimum
    );
    line(&zone.zone, zone.minimum, RecordType::SOA, &soa);
    let mut sorted: Vec<&RecordSet> = sets.iter().collect();
    sorted.sort_by(|one, other| (&one.name, one.rtype).cmp(&(&other.name, other.rtype)));
    for set in sorted {
        set.values.iter().for_each(|value| line(&set.name, set.ttl, set.rtype, &value.text(set.rtype)));
    }
    text
}

fn dotted(name: &Name) -> String {
    let text = name.to_string();
    if text == "." { text } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "$TTL 300
@   IN SOA ns1 hostmaster ( 2026112201 ; serial
        3600 600 604800 60 )
    IN NS ns1
    IN NS ns2.example.
ns1 A 192.0.2.1
*.app 60 IN A 192.0.2.7
txt TXT \"a ; b\" \"c\\\"d\"
odd\\.name TYPE65280 \\# 3 ABCDEF
$ORIGIN sub.mcrun.test.
www CNAME @
";

    fn zone() -> Name {
        Name::absolute("mcrun.test").unwrap()
    }

    #[test]
    fn a_file_reads_the_same_after_it_was_written() {
        let first = read(FILE.as_bytes(), &zone(), "a.zone").unwrap();
        let soa = first.soa.clone().unwrap();
        assert_eq!((soa.serial, soa.minimum), (2_026_112_201, 60));
        assert_eq!(soa.primary.to_string(), "ns1.mcrun.test");
        assert_eq!(first.sets.len(), 6);
        let text = write(&soa, &first.sets);
        assert_eq!(read(text.as_bytes(), &zone(), "b.zone").unwrap(), first, "{text}");
    }

    #[test]
    fn a_lone_at_sign_is_the_origin_also_in_values() {
        let text =
            "@ 300 SOA @ hostmaster 1 2 3 4 5\nwww CNAME @\n@ MX 10 @\n$ORIGIN sub.mcrun.test.\nx NS @\n";
        let read = read(text.as_bytes(), &zone(), "a.zone").unwrap();
        assert_eq!(read.soa.unwrap().primary, zone());
        let values: Vec<String> = read.sets.iter().flat_map(RecordSet::texts).collect();
        assert_eq!(values, ["10 mcrun.test.", "sub.mcrun.test.", "mcrun.test."]);
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (text, place, why) in [
            ("a A 192.0.2.1\nb A 300.0.0.1\n", "a.zone:2:1", "IPv4"),
            ("a A 300.0.0.1", "a.zone:1:", "IPv4"),
            ("a A 192.0.2.1\n\n; c\nb.example. A 192.0.2.1\n", "a.zone:4:1", "outside"),
            ("a A 192.0.2.1\n$INCLUDE /etc/shadow\n", "a.zone:2:1", "INCLUDE"),
            ("a NOPE x\n", "a.zone:1:", ""),
            ("a CH TXT x\n", "a.zone:1:", "class"),
            ("a 9999999999 A 192.0.2.1\n", "a.zone:1:", ""),
            ("a TXT \"open\n", "a.zone:", ""),
            ("x SOA a b 1 2 3 4 5\n", "a.zone:1:1", "SOA"),
            (" A 192.0.2.1\n", "a.zone:1:", ""),
            ("a TXT \"(\" \\( ; (\nb (TXT x\ny", "a.zone:2:1", "closed"),
            ("a TXT (\nb ( ) \"", "a.zone:1:1", "closed"),
        ] {
            let error = read(text.as_bytes(), &zone(), "a.zone").expect_err(text);
            assert_eq!(error.code, Code::DnsZoneFile);
            assert!(
                error.message.starts_with(place) && error.message.contains(why),
                "{text}: {}",
                error.message
            );
        }
    }
}
