//! Owns which records may stand beside each other: looked at once for the state that a change leads to, whatever order
//! its parts came in (RFC 1034, section 3.6.2; RFC 2181, section 10.1; RFC 6672, section 2.3).

use std::collections::BTreeMap;

use effect::{Code, Error, Result};

use crate::exclusive::stands_by_a_cname;
use crate::name::Name;
use crate::record::{RecordSet, RecordType};

/// The sets of some names of a zone.
pub(crate) type Sets = BTreeMap<Name, BTreeMap<RecordType, RecordSet>>;

/// Refuses sets of `name` that cannot stand beside each other, or beneath a DNAME.
pub(super) fn check(zone: &Name, name: &Name, sets: &Sets) -> Result<()> {
    let Some(own) = sets.get(name).filter(|own| !own.is_empty()) else { return Ok(()) };
    let refused = |why: String| {
        Err(Error::new(Code::DnsExclusive, format!("`{name}` cannot have these records together"))
            .because(why))
    };
    if own.contains_key(&RecordType::CNAME) {
        if name == zone {
            return refused("the zone's own name has a SOA, so it cannot be another name (CNAME)".into());
        }
        let beside = own.keys().find(|rtype| !stands_by_a_cname(**rtype));
        if let Some(beside) = beside {
            return refused(format!("a CNAME stands alone, and there is {beside} beside it"));
        }
    }
    let mut above = name.parent();
    while let Some(parent) = above.filter(|parent| parent.is_within(zone)) {
        if sets.get(&parent).is_some_and(|sets| sets.contains_key(&RecordType::DNAME)) {
            return refused(format!("`{parent}` has a DNAME, so that there is nothing beneath it"));
        }
        above = parent.parent();
    }
    if own.contains_key(&RecordType::DNAME)
        && let Some(beneath) =
            sets.iter().find(|(other, sets)| *other != name && !sets.is_empty() && other.is_within(name))
    {
        return refused(format!("a DNAME has nothing beneath it, and there is `{}`", beneath.0));
    }
    Ok(())
}
