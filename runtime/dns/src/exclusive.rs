//! Owns what can be said of a change before anybody looks at the records: whether it contradicts itself.

use std::collections::HashSet;

use domain::base::iana::Rtype;
use effect::{Code, Error, Result};

use crate::driver::Change;
use crate::name::Name;
use crate::record::RecordType;

/// Refuses a change that puts a CNAME beside something else.
///
/// # Errors
/// `MC-Q003` naming the first name.
pub(crate) fn check(change: &Change) -> Result<()> {
    let aliases: HashSet<&Name> =
        change.put.iter().filter(|set| set.rtype == RecordType::CNAME).map(|set| &set.name).collect();
    let beside = change.put.iter().find(|set| !stands_by_a_cname(set.rtype) && aliases.contains(&set.name));
    let Some(set) = beside else { return Ok(()) };
    Err(Error::new(Code::DnsExclusive, format!("`{}` would have a CNAME and {}", set.name, set.rtype))
        .because("a CNAME is alone at its name (RFC 1034, section 3.6.2)"))
}

/// RFC 2136, section 3.4.2.2, with RFC 4034 and RFC 2535.
pub(crate) fn stands_by_a_cname(rtype: RecordType) -> bool {
    matches!(rtype.0, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::KEY)
}
