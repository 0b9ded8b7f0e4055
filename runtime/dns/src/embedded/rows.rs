//! Owns how zones and their records lie in the database: a row for each zone, and one for each set of records.

use effect::{Code, Error, Result};
use journal::{Expect, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::driver::Zone;
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Value};

/// The kind of the rows of zones.
pub(super) const ZONE: &str = "dns-zone";
/// The kind of the rows that keep the serials of zones which are gone: one that comes back goes on from there.
pub(super) const SERIAL: &str = "dns-serial";
/// How the kind of the rows of a zone's records begins.
const RECORDS: &str = "dns:";

/// A set of records as it is recorded; name and type are the row's own name.
#[derive(Serialize, Deserialize)]
struct Row {
    ttl: u32,
    values: Vec<String>,
}

/// The kind of the rows of the records of `zone`.
pub(super) fn kind(zone: &Name) -> String {
    format!("{RECORDS}{zone}")
}

/// The zone whose records have rows of this kind.
pub(super) fn zone_of(kind: &str) -> Option<Result<Name>> {
    kind.strip_prefix(RECORDS).map(Name::absolute)
}

/// How the names of the rows of what `name` has begin.
pub(super) fn prefix(zone: &Name, name: &Name) -> String {
    format!("{} ", name.in_zone(zone))
}

/// The row that records a zone, in the place of the row `before`.
pub(super) fn zone_write(node: &str, zone: &Zone, before: Option<&str>) -> Write {
    write(node, ZONE, &zone.zone.to_string(), Some(json!(zone).to_string()), before)
}

/// What takes the row of a zone away.
pub(super) fn zone_removal(node: &str, zone: &Name, before: &str) -> Write {
    write(node, ZONE, &zone.to_string(), None, Some(before))
}

/// The row that keeps the serial of a zone that is gone.
pub(super) fn serial_write(node: &str, zone: &Name, serial: Option<u32>) -> Write {
    let value = serial.map(|serial| serial.to_string());
    Write { expect: Expect::Any, ..write(node, SERIAL, &zone.to_string(), value, None) }
}

/// The row that records a set.
pub(super) fn set_write(node: &str, zone: &Name, set: &RecordSet) -> Write {
    let row = json!(Row { ttl: set.ttl, values: set.texts() }).to_string();
    Write {
        expect: Expect::Any,
        ..write(node, &kind(zone), &row_name(zone, &set.name, set.rtype), Some(row), None)
    }
}

/// What takes the row of a set away.
pub(super) fn set_removal(node: &str, zone: &Name, name: &Name, rtype: RecordType) -> Write {
    Write { expect: Expect::Any, ..write(node, &kind(zone), &row_name(zone, name, rtype), None, None) }
}

pub(super) fn row_name(zone: &Name, name: &Name, rtype: RecordType) -> String {
    format!("{}{rtype}", prefix(zone, name))
}

fn write(node: &str, kind: &str, name: &str, value: Option<String>, before: Option<&str>) -> Write {
    let expect = before.map_or(Expect::Absent, |before| Expect::Value(before.into()));
    Write { kind: kind.into(), node: node.into(), name: name.into(), value, expect }
}

/// The zone that a row records.
pub(super) fn zone(value: &str) -> Result<Zone> {
    serde_json::from_str(value).map_err(broken)
}

/// The name and type that a row is about.
pub(super) fn key(zone: &Name, row: &str) -> Result<(Name, RecordType)> {
    let (name, rtype) = row.rsplit_once(' ').ok_or_else(|| broken("it names no type"))?;
    let name = if name.ends_with('.') { Name::absolute(name)? } else { Name::within(name, zone)? };
    Ok((name, rtype.parse()?))
}

/// The set that a row records.
pub(super) fn set(zone: &Name, row: &str, value: &str) -> Result<RecordSet> {
    let (name, rtype) = key(zone, row)?;
    let row: Row = serde_json::from_str(value).map_err(broken)?;
    let values = row.values.iter().map(|value| Value::parse(rtype, value, zone)).collect::<Result<_>>()?;
    RecordSet::new(name, rtype, row.ttl, values)
}

fn broken(why: impl std::fmt::Display) -> Error {
    Error::new(Code::JournalBroken, "a recorded name cannot be decoded").because(why)
}
