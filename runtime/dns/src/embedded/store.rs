//! Owns the records of zones: reading them, and what is written to change them. A change of a zone always writes the row
//! of the zone itself, with the next serial, and only where that row is what the change was made from: so a zone is never
//! half of one change and half of another, and its serial never goes back, whoever changes it.

use std::collections::BTreeSet;

use effect::{Code, Error, Result};
use journal::{Journal, Look, Record, Write};

use super::exclusive::{self, Sets};
use super::rows;
use crate::driver::{Change, Zone, is_further};
use crate::name::Name;
use crate::record::{RecordSet, RecordType};

/// With more names to look at than this, a zone is read whole.
const FEW_NAMES: usize = 64;

/// The zones of one node.
#[derive(Debug, Clone)]
pub struct Store {
    journal: Journal,
    node: String,
}

/// What a change is made from: the zone's row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// The zone; none where there is none.
    pub zone: Option<Zone>,
    row: Option<String>,
    /// The last serial of a zone that is gone.
    last: Option<u32>,
}

impl Basis {
    /// The zone, which must be there.
    ///
    /// # Errors
    /// `MC-Q004` where it is not.
    pub fn known(&self, zone: &Name) -> Result<&Zone> {
        self.zone.as_ref().ok_or_else(|| unknown(zone))
    }
}

/// The error for a zone that is not there.
pub(crate) fn unknown(zone: &Name) -> Error {
    Error::new(Code::DnsZone, format!("there is no zone `{zone}`"))
}

/// The serial after this one; 0 is left out, as some take it for none (RFC 1982, section 7).
pub(crate) fn next(serial: u32) -> u32 {
    serial.wrapping_add(1).max(1)
}

impl Store {
    /// The zones of `node` in a journal.
    #[must_use]
    pub fn new(journal: Journal, node: &str) -> Self {
        Self { journal, node: node.to_owned() }
    }

    /// Where they are recorded.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Every zone, by name.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn zones(&self) -> Result<Vec<Zone>> {
        let rows = self.journal.records(rows::ZONE, Some(&self.node)).await?;
        rows.iter().map(|row| rows::zone(&row.value)).collect()
    }

    /// What a change of `zone` is made from.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn basis(&self, zone: &Name) -> Result<Basis> {
        Ok(self.look(zone, Vec::new()).await?.0)
    }

    /// The rows of `zone` itself, and of what is looked for in it, all as of the same moment.
    async fn look(&self, zone: &Name, beneath: Vec<Look>) -> Result<(Basis, Vec<Record>)> {
        let of_zone = |kind: &str| Look::One { kind: kind.to_owned(), name: zone.to_string() };
        let looks = [of_zone(rows::ZONE), of_zone(rows::SERIAL)].into_iter().chain(beneath).collect();
        let mut found = self.journal.look(&self.node, looks).await?.into_iter();
        let mut value = || found.next().and_then(|rows| rows.into_iter().next()).map(|row| row.value);
        let (row, last) = (value(), value());
        let soa = row.as_deref().map(rows::zone).transpose()?;
        let last = last.filter(|_| row.is_none()).and_then(|last| last.parse().ok());
        Ok((Basis { zone: soa, row, last }, found.flatten().collect()))
    }

    /// What `name` has of `rtype`.
    ///
    /// # Errors
    /// `MC-Q004` where there is no such zone; where the journal cannot be read.
    pub async fn get(&self, zone: &Name, name: &Name, rtype: RecordType) -> Result<Option<RecordSet>> {
        let row = Look::One { kind: rows::kind(zone), name: rows::row_name(zone, name, rtype) };
        let (basis, rows) = self.look(zone, vec![row]).await?;
        basis.known(zone)?;
        rows.first().map(|row| rows::set(zone, &row.name, &row.value)).transpose()
    }

    /// Every set of `zone` but its SOA, by name and type.
    ///
    /// # Errors
    /// `MC-Q004` where there is no such zone; where the journal cannot be read.
    pub async fn list(&self, zone: &Name) -> Result<Vec<RecordSet>> {
        let all = Look::Beneath { kind: rows::kind(zone), prefix: String::new() };
        let (basis, rows) = self.look(zone, vec![all]).await?;
        basis.known(zone)?;
        let mut sets: Vec<RecordSet> =
            rows.iter().map(|row| rows::set(zone, &row.name, &row.value)).collect::<Result<_>>()?;
        sets.sort_by(|one, other| (&one.name, one.rtype).cmp(&(&other.name, other.rtype)));
        Ok(sets)
    }

    /// What is written to change records of `zone`; nothing where nothing changes. Where the zone is not `still` what the
    /// change was made for, that is a write that cannot be made.
    ///
    /// # Errors
    /// `MC-Q004` where there is no such zone, `MC-Q003` where records would stand beside each other that cannot.
    pub(crate) async fn change_writes(
        &self,
        zone: &Name,
        change: &Change,
        still: impl FnOnce(&Basis, &Sets) -> bool,
    ) -> Result<Vec<Write>> {
        self.change_writes_from(zone, change, None, still).await
    }

    /// The same. With `least` the zone gets a serial that is not before that one, whether records change or not.
    ///
    /// # Errors
    /// As [`Store::change_writes`].
    pub(crate) async fn change_writes_from(
        &self,
        zone: &Name,
        change: &Change,
        least: Option<u32>,
        still: impl FnOnce(&Basis, &Sets) -> bool,
    ) -> Result<Vec<Write>> {
        let (basis, sets) = self.around_change(zone, change).await?;
        let had = basis.known(zone)?;
        if !still(&basis, &sets) {
            // No row is empty: by this the corridor learns that somebody was faster, and compares again.
            return Ok(vec![rows::zone_removal(&self.node, zone, "")]);
        }
        let soa = least.map(|serial| Zone { serial, ..had.clone() });
        self.revision_writes(zone, &basis, sets, change, soa)
    }

    /// Refuses a change that could not be made of the zone as it stands, or as it will be once what is `planned` was
    /// done; `is_new` is a zone that is not there yet.
    ///
    /// # Errors
    /// As [`Store::change_writes`].
    pub async fn admit(
        &self,
        zone: &Name,
        is_new: bool,
        planned: &[(Name, RecordType, Option<RecordSet>)],
        change: &Change,
    ) -> Result<()> {
        let mut sets = Sets::new();
        if is_new {
            // Its name servers come with it.
            let own = RecordSet::parse(zone, "@", RecordType::NS, 0, &["ns".to_owned()])?;
            sets.entry(zone.clone()).or_default().insert(RecordType::NS, own);
        } else {
            let (basis, found) = self.around_change(zone, change).await?;
            basis.known(zone)?;
            sets = found;
        }
        for (name, rtype, set) in planned {
            let own = sets.entry(name.clone()).or_default();
            own.remove(rtype);
            own.extend(set.clone().map(|set| (*rtype, set)));
        }
        self.checked(zone, sets, change).map(drop)
    }

    /// The zone, and the sets of every name that decides whether `change` may be made.
    async fn around_change(&self, zone: &Name, change: &Change) -> Result<(Basis, Sets)> {
        let touched =
            change.put.iter().map(|set| &set.name).chain(change.remove.iter().map(|(name, _)| name));
        let grafts = change.put.iter().any(|set| set.rtype == RecordType::DNAME);
        self.around(zone, touched, grafts).await
    }

    /// What is written to change records of `zone`, which stands as `basis` and, at the names that matter, as `before`. A
    /// `soa` takes the place of the zone's own; its serial is the least that the zone gets.
    ///
    /// # Errors
    /// As [`Store::change_writes`].
    pub(crate) fn revision_writes(
        &self,
        zone: &Name,
        basis: &Basis,
        before: Sets,
        change: &Change,
        soa: Option<Zone>,
    ) -> Result<Vec<Write>> {
        let had = basis.known(zone)?;
        let mut writes = self.checked(zone, before, change)?;
        if writes.is_empty() && soa.is_none() {
            return Ok(writes);
        }
        let serial = next(had.serial);
        let soa = match soa {
            Some(soa) if is_further(serial, soa.serial) => soa,
            Some(soa) => Zone { serial, ..soa },
            None => Zone { serial, ..had.clone() },
        };
        writes.push(rows::zone_write(&self.node, &soa, basis.row.as_deref()));
        Ok(writes)
    }

    /// The rows that `change` makes of `before`, where what comes of it may stand together.
    fn checked(&self, zone: &Name, before: Sets, change: &Change) -> Result<Vec<Write>> {
        let (after, writes) = self.applied(zone, before, change)?;
        if writes.is_empty() {
            return Ok(writes);
        }
        for name in change.put.iter().map(|set| &set.name).chain(change.remove.iter().map(|(name, _)| name)) {
            exclusive::check(zone, name, &after)?;
        }
        if !after.get(zone).is_some_and(|sets| sets.contains_key(&RecordType::NS)) {
            let message = format!("`{zone}` would have no name server left");
            return Err(
                Error::new(Code::DnsExclusive, message).because("a zone has at least one NS at its own name")
            );
        }
        Ok(writes)
    }

    /// The rows that record `sets`, without looking at what is there.
    pub(crate) fn set_writes(&self, zone: &Name, sets: &[RecordSet]) -> Vec<Write> {
        sets.iter().map(|set| rows::set_write(&self.node, zone, set)).collect()
    }

    /// The serial that a zone gets by these writes, if they write one.
    pub(crate) fn serial_in(&self, writes: &[Write]) -> Option<u32> {
        let row = writes.iter().find(|write| write.kind == rows::ZONE)?;
        rows::zone(row.value.as_deref()?).ok().map(|zone| zone.serial)
    }

    /// The sets as they are after `change`, and the rows that differ.
    fn applied(&self, zone: &Name, mut sets: Sets, change: &Change) -> Result<(Sets, Vec<Write>)> {
        let mut writes = Vec::new();
        for (name, rtype) in &change.remove {
            let is_put = change.put.iter().any(|set| set.name == *name && set.rtype == *rtype);
            if sets.get_mut(name).is_some_and(|own| own.remove(rtype).is_some()) && !is_put {
                writes.push(rows::set_removal(&self.node, zone, name, *rtype));
            }
        }
        for set in &change.put {
            if set.rtype == RecordType::SOA {
                let message = format!("the SOA of `{zone}` is not set like other records");
                return Err(Error::new(Code::DnsValue, message).hint("`dns.zones.ensure` says what it has"));
            }
            if !set.name.is_within(zone) {
                return Err(Error::new(
                    Code::DnsZone,
                    format!("`{}` lies outside of the zone `{zone}`", set.name),
                ));
            }
            let own = sets.entry(set.name.clone()).or_default();
            if !own.get(&set.rtype).is_some_and(|before| before.same_as(set)) {
                writes.push(rows::set_write(&self.node, zone, set));
            }
            own.insert(set.rtype, set.clone());
        }
        Ok((sets, writes))
    }

    /// The zone, and the sets of every name that decides whether the names `touched` may be changed, as of the same moment;
    /// of a tree that is grafted elsewhere that is every name.
    pub(crate) async fn around(
        &self,
        zone: &Name,
        touched: impl Iterator<Item = &Name>,
        grafts: bool,
    ) -> Result<(Basis, Sets)> {
        let mut names = BTreeSet::from([zone.clone()]);
        for name in touched {
            let above = std::iter::successors(Some(name.clone()), Name::parent);
            names.extend(above.take_while(|name| name.is_within(zone)));
        }
        let beneath = |prefix: String| Look::Beneath { kind: rows::kind(zone), prefix };
        let looks = match names.len() > FEW_NAMES || grafts {
            true => vec![beneath(String::new())],
            false => names.iter().map(|name| beneath(rows::prefix(zone, name))).collect(),
        };
        let (basis, rows) = self.look(zone, looks).await?;
        let mut sets = Sets::new();
        for row in rows {
            let set = rows::set(zone, &row.name, &row.value)?;
            sets.entry(set.name.clone()).or_default().insert(set.rtype, set);
        }
        Ok((basis, sets))
    }

    /// What is written to make a zone, or to change what its SOA and its own NS say; nothing where they say so already.
    /// The serial of `zone` is the least that it gets: it goes up from what it was.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn zone_writes(
        &self,
        basis: &Basis,
        zone: &Zone,
        nameservers: &RecordSet,
    ) -> Result<Vec<Write>> {
        let name = &zone.zone;
        let own = Look::One { kind: rows::kind(name), name: rows::row_name(name, name, RecordType::NS) };
        let (_, found) = self.look(name, vec![own]).await?;
        let had = found.first().map(|row| rows::set(name, &row.name, &row.value)).transpose()?;
        let mut writes = Vec::new();
        if !had.is_some_and(|had| had.same_as(nameservers)) {
            writes.push(rows::set_write(&self.node, name, nameservers));
        }
        let serial = match (&basis.zone, basis.last) {
            (Some(before), _)
                if writes.is_empty() && *before == (Zone { serial: before.serial, ..zone.clone() }) =>
            {
                return Ok(Vec::new());
            }
            (Some(before), _) => next(before.serial),
            (None, Some(last)) => next(last),
            (None, None) => 1,
        };
        // Written by others before, it may be further on than what we know of it (RFC 1982, section 3.2).
        let is_further = serial.wrapping_sub(zone.serial) > u32::MAX / 2;
        let serial = if is_further { zone.serial } else { serial };
        writes.push(rows::zone_write(&self.node, &Zone { serial, ..zone.clone() }, basis.row.as_deref()));
        if basis.last.is_some() {
            writes.push(rows::serial_write(&self.node, name, None));
        }
        Ok(writes)
    }

    /// What is written to take a zone away with all its records; nothing where there is none.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn removal_writes(&self, zone: &Name, basis: &Basis) -> Result<Vec<Write>> {
        let (Some(soa), Some(row)) = (&basis.zone, &basis.row) else { return Ok(Vec::new()) };
        let mut writes: Vec<Write> = self
            .list(zone)
            .await?
            .iter()
            .map(|set| rows::set_removal(&self.node, zone, &set.name, set.rtype))
            .collect();
        writes.push(rows::zone_removal(&self.node, zone, row));
        writes.push(rows::serial_write(&self.node, zone, Some(soa.serial)));
        Ok(writes)
    }
}
