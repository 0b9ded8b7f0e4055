//! Owns what an update says (RFC 2136): its zone, what it requires, and what it changes, read whole before anything is
//! looked up. What follows from it for the records of a zone is worked out in `update::state`; nothing here waits.

mod state;

use std::collections::BTreeSet;

use super::query::{Query, opcode, opcode_of, rcode};
use super::records::{Record, Records};
use super::signed::Key;
use crate::driver;
use crate::embedded::Sets;
use crate::name::Name;
use crate::record::{LONGEST_TTL, RecordSet, RecordType, Value};

pub use state::Revision;

const CLASS_IN: u16 = 1;
const CLASS_NONE: u16 = 254;
const CLASS_ANY: u16 = 255;
const SOA: u16 = 6;
const ANY: u16 = 255;

/// What has to be so before anything is changed (RFC 2136, section 2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Prerequisite {
    /// The name has records.
    InUse(Name),
    /// The name has none.
    Free(Name),
    /// The name has records of the type.
    Exists(Name, RecordType),
    /// The name has none of the type.
    Missing(Name, RecordType),
    /// The name has this value of the type, and no other than those that are required of it.
    Has(Name, RecordType, Value),
}

/// One change of records (RFC 2136, section 2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The name has this value too.
    Add(Name, RecordType, u32, Value),
    /// The name does not have this value.
    RemoveValue(Name, RecordType, Value),
    /// The name has nothing of the type.
    RemoveSet(Name, RecordType),
    /// The name has nothing.
    RemoveName(Name),
}

impl Step {
    fn name(&self) -> &Name {
        match self {
            Self::Add(name, ..)
            | Self::RemoveValue(name, ..)
            | Self::RemoveSet(name, _)
            | Self::RemoveName(name) => name,
        }
    }
}

/// An update as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    zone: Name,
    prerequisites: Vec<Prerequisite>,
    steps: Vec<Step>,
}

impl Update {
    /// Reads an update whole. Its form is checked here, in both of its parts and before anything is required of the zone:
    /// RFC 2136 does so in turns, of which only a message that is wrong in two ways could tell.
    ///
    /// # Errors
    /// The code of the answer: `FORMERR`, `NOTZONE` for names outside of the zone, `NOTAUTH` for another class, `REFUSED`
    /// for too many records.
    pub fn read(message: &[u8]) -> Result<Self, u8> {
        let query = Query::head(message).map_err(|_| rcode::FORMERR)?;
        if opcode_of(message) != opcode::UPDATE {
            return Err(rcode::FORMERR);
        }
        let records = Records::read(message, query.end)?;
        Self::of(&query, &records)
    }

    pub(crate) fn of(query: &Query<'_>, records: &Records) -> Result<Self, u8> {
        if query.rtype != SOA {
            return Err(rcode::FORMERR);
        }
        if query.class != CLASS_IN {
            return Err(rcode::NOTAUTH);
        }
        let (message, zone) = (query.message, Name::trusted(query.name.wire()));
        let prerequisites = records
            .first
            .iter()
            .map(|record| prerequisite(message, &zone, record))
            .collect::<Result<_, _>>()?;
        let steps =
            records.second.iter().map(|record| step(message, &zone, record)).collect::<Result<_, _>>()?;
        Ok(Self { zone, prerequisites, steps })
    }

    /// The zone that is changed.
    #[must_use]
    pub fn zone(&self) -> &Name {
        &self.zone
    }

    /// Whether `key` may change every name that the update touches.
    #[must_use]
    pub fn is_allowed(&self, key: &Key) -> bool {
        let names: BTreeSet<&Name> = self.steps.iter().map(Step::name).collect();
        names.into_iter().all(|name| key.may_write(&self.zone, name))
    }

    /// The names whose records it looks at or changes.
    pub(crate) fn names(&self) -> BTreeSet<Name> {
        let required = self.prerequisites.iter().map(|prerequisite| match prerequisite {
            Prerequisite::InUse(name)
            | Prerequisite::Free(name)
            | Prerequisite::Exists(name, _)
            | Prerequisite::Missing(name, _)
            | Prerequisite::Has(name, ..) => name,
        });
        required.chain(self.steps.iter().map(Step::name)).cloned().collect()
    }

    /// Whether what it adds depends on everything beneath a name.
    pub(crate) fn grafts(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Add(_, RecordType::DNAME, ..)))
    }

    /// What is to be written where the zone stands as `soa` and `sets`, which hold all of [`Update::names`].
    ///
    /// # Errors
    /// The code of the answer where something that is required is not so, or the records could not stand.
    pub(crate) fn revise(&self, soa: &driver::Zone, sets: &Sets) -> Result<Revision, u8> {
        state::check(&self.prerequisites, soa, sets)?;
        state::apply(&self.steps, soa, sets)
    }

    /// As the server would, but with the records at hand: what the update makes of them. For tests of any kind of input.
    ///
    /// # Errors
    /// The code of the answer.
    pub fn revise_records(&self, soa: &driver::Zone, records: &[RecordSet]) -> Result<Revision, u8> {
        let mut sets = Sets::new();
        for set in records {
            sets.entry(set.name.clone()).or_default().insert(set.rtype, set.clone());
        }
        self.revise(soa, &sets)
    }
}

/// RFC 2136, section 3.2.
fn prerequisite(message: &[u8], zone: &Name, record: &Record) -> Result<Prerequisite, u8> {
    if record.ttl != 0 {
        return Err(rcode::FORMERR);
    }
    let (name, rtype) = (record.owner(message)?, RecordType::of(record.rtype));
    if !name.is_within(zone) {
        return Err(rcode::NOTZONE);
    }
    match (record.class, record.rtype) {
        (CLASS_ANY, ANY) if record.is_empty() => Ok(Prerequisite::InUse(name)),
        (CLASS_NONE, ANY) if record.is_empty() => Ok(Prerequisite::Free(name)),
        (CLASS_ANY, _) if record.is_empty() && rtype.is_stored() => Ok(Prerequisite::Exists(name, rtype)),
        (CLASS_NONE, _) if record.is_empty() && rtype.is_stored() => Ok(Prerequisite::Missing(name, rtype)),
        (CLASS_IN, _) if rtype.is_stored() => {
            let value = record.value(message).ok_or(rcode::FORMERR)?;
            Ok(Prerequisite::Has(name, rtype, value))
        }
        _ => Err(rcode::FORMERR),
    }
}

/// RFC 2136, section 3.4.1.
fn step(message: &[u8], zone: &Name, record: &Record) -> Result<Step, u8> {
    let (name, rtype) = (record.owner(message)?, RecordType::of(record.rtype));
    if !name.is_within(zone) {
        return Err(rcode::NOTZONE);
    }
    let removes = record.ttl == 0;
    match (record.class, record.rtype) {
        (CLASS_IN, _) if rtype.is_stored() => {
            let value = record.value(message).ok_or(rcode::FORMERR)?;
            // RFC 2181, section 8.
            let ttl = if record.ttl > LONGEST_TTL { 0 } else { record.ttl };
            Ok(Step::Add(name, rtype, ttl, value))
        }
        (CLASS_ANY, ANY) if removes && record.is_empty() => Ok(Step::RemoveName(name)),
        (CLASS_ANY, _) if removes && record.is_empty() && rtype.is_stored() => {
            Ok(Step::RemoveSet(name, rtype))
        }
        (CLASS_NONE, _) if removes && rtype.is_stored() => {
            let value = record.value(message).ok_or(rcode::FORMERR)?;
            Ok(Step::RemoveValue(name, rtype, value))
        }
        _ => Err(rcode::FORMERR),
    }
}

#[cfg(test)]
#[path = "update/tests.rs"]
mod tests;
