//! Owns what an update makes of the records of a zone: whether what it requires is so (RFC 2136, section 3.2), and what
//! stands after its steps (section 3.4.2), of which those that cannot be are left out without a word, as clients expect.

use std::collections::BTreeMap;

use super::{Prerequisite, Step};
use crate::driver::{self, Change};
use crate::embedded::Sets;
use crate::exclusive::stands_by_a_cname;
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Value};
use crate::server::query::rcode;
use crate::server::zone::soa_value;

/// What an update comes to.
#[derive(Debug, Clone, Default)]
pub struct Revision {
    /// The sets that change.
    pub change: Change,
    /// What the SOA says afterwards, where the update says so.
    pub soa: Option<driver::Zone>,
}

/// Values by their canonical form, so that a set of thousands is changed in a time that does not grow with it.
type Values = BTreeMap<Vec<u8>, Value>;

/// The SOA of the zone as a set of one value.
fn soa_values(soa: &driver::Zone) -> Values {
    values(RecordType::SOA, &[Value(soa_value(soa).into())])
}

fn values(rtype: RecordType, values: &[Value]) -> Values {
    values.iter().map(|value| (value.canonical(rtype), value.clone())).collect()
}

/// RFC 2136, section 3.2.
pub(super) fn check(prerequisites: &[Prerequisite], soa: &driver::Zone, sets: &Sets) -> Result<(), u8> {
    let is_apex = |name: &Name| *name == soa.zone;
    let is_used = |name: &Name| is_apex(name) || sets.get(name).is_some_and(|own| !own.is_empty());
    let has = |name: &Name, rtype: RecordType| match rtype {
        RecordType::SOA => is_apex(name),
        _ => sets.get(name).is_some_and(|own| own.contains_key(&rtype)),
    };
    let mut required: BTreeMap<(&Name, RecordType), Values> = BTreeMap::new();
    for prerequisite in prerequisites {
        let outcome = match prerequisite {
            Prerequisite::InUse(name) if !is_used(name) => Err(rcode::NXDOMAIN),
            Prerequisite::Free(name) if is_used(name) => Err(rcode::YXDOMAIN),
            Prerequisite::Exists(name, rtype) if !has(name, *rtype) => Err(rcode::NXRRSET),
            Prerequisite::Missing(name, rtype) if has(name, *rtype) => Err(rcode::YXRRSET),
            Prerequisite::Has(name, rtype, value) => {
                let values = required.entry((name, *rtype)).or_default();
                values.insert(value.canonical(*rtype), value.clone());
                Ok(())
            }
            _ => Ok(()),
        };
        outcome?;
    }
    let is_same = |((name, rtype), required): (&(&Name, RecordType), &Values)| {
        let found = match *rtype {
            RecordType::SOA if is_apex(name) => soa_values(soa),
            RecordType::SOA => Values::new(),
            rtype => sets
                .get(*name)
                .and_then(|own| own.get(&rtype))
                .map_or_else(Values::new, |set| values(rtype, &set.values)),
        };
        found.keys().eq(required.keys())
    };
    if required.iter().all(is_same) { Ok(()) } else { Err(rcode::NXRRSET) }
}

/// One set while it is changed.
#[derive(Default)]
struct Set {
    ttl: u32,
    values: Values,
}

/// The names that steps touch, while they do.
struct Working<'a> {
    before: &'a Sets,
    soa: driver::Zone,
    names: BTreeMap<Name, BTreeMap<RecordType, Set>>,
}

/// RFC 2136, section 3.4.2.
pub(super) fn apply(steps: &[Step], soa: &driver::Zone, sets: &Sets) -> Result<Revision, u8> {
    let mut working = Working { before: sets, soa: soa.clone(), names: BTreeMap::new() };
    for step in steps {
        match step {
            Step::Add(name, rtype, ttl, value) => working.add(name, *rtype, *ttl, value)?,
            Step::RemoveValue(name, rtype, value) => working.remove_value(name, *rtype, value),
            Step::RemoveSet(name, rtype) => working.remove_set(name, *rtype),
            Step::RemoveName(name) => working.remove_name(name),
        }
    }
    let changed = (working.soa != *soa).then(|| working.soa.clone());
    Ok(Revision { change: working.finish()?, soa: changed })
}

impl Working<'_> {
    fn own(&mut self, name: &Name) -> &mut BTreeMap<RecordType, Set> {
        let before = self.before;
        self.names.entry(name.clone()).or_insert_with(|| {
            let sets = before.get(name).into_iter().flatten();
            sets.map(|(rtype, set)| (*rtype, Set { ttl: set.ttl, values: values(*rtype, &set.values) }))
                .collect()
        })
    }

    /// RFC 2136, section 3.4.2.2.
    fn add(&mut self, name: &Name, rtype: RecordType, ttl: u32, value: &Value) -> Result<(), u8> {
        let is_apex = *name == self.soa.zone;
        if rtype == RecordType::SOA {
            self.raise(is_apex, value);
            return Ok(());
        }
        let own = self.own(name);
        let stays_out = if rtype == RecordType::CNAME {
            is_apex || own.iter().any(|(other, _)| *other != rtype && !stands_by_a_cname(*other))
        } else {
            own.contains_key(&RecordType::CNAME) && !stands_by_a_cname(rtype)
        };
        if stays_out {
            return Ok(());
        }
        let set = own.entry(rtype).or_default();
        let canonical = value.canonical(rtype);
        if rtype == RecordType::CNAME && !set.values.contains_key(&canonical) {
            set.values.clear();
        }
        // A second tree in the place of a first one (RFC 6672, section 5.2).
        if rtype == RecordType::DNAME && !set.values.is_empty() && !set.values.contains_key(&canonical) {
            return Err(rcode::REFUSED);
        }
        set.values.insert(canonical, value.clone());
        set.ttl = ttl;
        Ok(())
    }

    /// Another SOA counts where its serial is further on.
    fn raise(&mut self, is_apex: bool, value: &Value) {
        if let Some(soa) = soa_of(&self.soa.zone, value)
            && is_apex
            && driver::is_further(self.soa.serial, soa.serial)
        {
            self.soa = soa;
        }
    }

    /// RFC 2136, section 3.4.2.4.
    fn remove_value(&mut self, name: &Name, rtype: RecordType, value: &Value) {
        let is_own_server = *name == self.soa.zone && rtype == RecordType::NS;
        let own = self.own(name);
        let Some(set) = own.get_mut(&rtype) else { return };
        let canonical = value.canonical(rtype);
        if is_own_server && set.values.len() == 1 {
            return;
        }
        set.values.remove(&canonical);
        if set.values.is_empty() {
            own.remove(&rtype);
        }
    }

    /// RFC 2136, section 3.4.2.3.
    fn remove_set(&mut self, name: &Name, rtype: RecordType) {
        if *name != self.soa.zone || rtype != RecordType::NS {
            self.own(name).remove(&rtype);
        }
    }

    fn remove_name(&mut self, name: &Name) {
        let is_apex = *name == self.soa.zone;
        self.own(name).retain(|rtype, _| is_apex && *rtype == RecordType::NS);
    }

    /// The sets that differ from what was before.
    fn finish(self) -> Result<Change, u8> {
        let mut change = Change::default();
        for (name, own) in self.names {
            let before = self.before.get(&name);
            for rtype in before.into_iter().flat_map(BTreeMap::keys).filter(|rtype| !own.contains_key(rtype))
            {
                change.remove.push((name.clone(), *rtype));
            }
            for (rtype, set) in own {
                let set = RecordSet::new(name.clone(), rtype, set.ttl, set.values.into_values().collect())
                    .map_err(|_| rcode::REFUSED)?;
                let had = before.and_then(|own| own.get(&rtype));
                if !had.is_some_and(|had| had.same_as(&set)) {
                    change.put.push(set);
                }
            }
        }
        Ok(change)
    }
}

/// The SOA that a value is of `zone`.
fn soa_of(zone: &Name, value: &Value) -> Option<driver::Zone> {
    let wire = value.wire();
    let (primary, rest) = split_name(wire)?;
    let (admin, rest) = split_name(rest)?;
    let numbers = rest.as_chunks::<4>().0;
    let &[serial, refresh, retry, expire, minimum] = numbers else { return None };
    Some(driver::Zone {
        zone: zone.clone(),
        serial: u32::from_be_bytes(serial),
        primary,
        admin,
        refresh: u32::from_be_bytes(refresh),
        retry: u32::from_be_bytes(retry),
        expire: u32::from_be_bytes(expire),
        minimum: u32::from_be_bytes(minimum),
    })
}

fn split_name(wire: &[u8]) -> Option<(Name, &[u8])> {
    let end = crate::name::suffixes(wire).last()? + 1;
    Some((Name::from_wire(wire.get(..end)?).ok()?, &wire[end..]))
}
