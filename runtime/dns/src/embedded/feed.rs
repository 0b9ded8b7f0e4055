//! Owns how the server keeps up with the records: what was written since the last look becomes a new version of the zones
//! that it touched, and all of them are seen at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use effect::Result;
use journal::{Followed, Follower, Topic, Written};

use super::rows;
use crate::name::Name;
use crate::server::{Snapshot, Zone};

/// Follows the zones of a node in the database of a state directory.
#[derive(Debug)]
pub struct Feed {
    follower: Follower,
    /// Zones that are answered for and that this database knows nothing of: it is not the one that they were read from.
    strangers: BTreeSet<Name>,
}

impl Feed {
    /// Follows from now on; the first look finds everything.
    ///
    /// # Errors
    /// Where the database cannot be opened.
    pub fn open(state: &Path, node: &str) -> Result<Self> {
        Ok(Self {
            follower: Follower::open(state, node, &[Topic::Kinds("dns")])?,
            strangers: BTreeSet::new(),
        })
    }

    /// The version of everything after `before`; none where nothing was written since.
    ///
    /// A zone that was taken away leaves its serial behind. One that has neither left nor is there was lost with its
    /// database: it stays as it was until it is recorded again.
    ///
    /// # Errors
    /// Where the database cannot be read; `before` is then still the newest that is known.
    pub fn look(&mut self, before: &Snapshot) -> Result<Option<Snapshot>> {
        match self.follower.look()? {
            Followed::Nothing => Ok(None),
            Followed::All(records) => {
                let written = records.into_iter().map(|record| Written {
                    kind: record.kind,
                    node: record.node,
                    name: record.name,
                    value: Some(record.value),
                });
                let written: Vec<Written> = written.collect();
                let known: BTreeSet<&str> = written
                    .iter()
                    .filter(|row| [rows::ZONE, rows::SERIAL].contains(&&*row.kind))
                    .map(|row| &*row.name)
                    .collect();
                let mut snapshot = before.clone();
                self.strangers.clear();
                for (_, zone) in before.zones() {
                    if known.contains(&*zone.apex().to_string()) {
                        snapshot.remove(zone.apex());
                    } else {
                        tracing::warn!(zone = %zone.apex(), serial = zone.soa.serial, "a zone is not in the database, which is another one than before; what is known of it is answered");
                        self.strangers.insert(zone.apex().clone());
                    }
                }
                apply(&mut snapshot, written);
                Ok(Some(snapshot))
            }
            Followed::Some(written) => {
                let mut snapshot = before.clone();
                for row in written.iter().filter(|row| row.kind == rows::ZONE && row.value.is_some()) {
                    // What it had is not what this database records.
                    if let Some(zone) =
                        Name::absolute(&row.name).ok().and_then(|zone| self.strangers.take(&zone))
                    {
                        snapshot.remove(&zone);
                    }
                }
                apply(&mut snapshot, written);
                Ok(Some(snapshot))
            }
        }
    }
}

/// Puts what was written into the zones that it belongs to. A row that cannot be read is left out: the zone is answered
/// for as far as it can be.
fn apply(snapshot: &mut Snapshot, written: Vec<Written>) {
    let mut touched: BTreeMap<Name, Vec<Written>> = BTreeMap::new();
    for row in written.into_iter() {
        let zone = match &*row.kind {
            rows::ZONE => Some(Name::absolute(&row.name)),
            kind => rows::zone_of(kind),
        };
        match zone {
            Some(Ok(zone)) => touched.entry(zone).or_default().push(row),
            Some(Err(error)) => tracing::error!(%error, row.kind, row.name, "a recorded zone cannot be read"),
            None => {}
        }
    }
    for (name, rows) in touched {
        let before = snapshot.zone(&name).map(|zone| Zone::clone(zone));
        match changed(&name, before, &rows) {
            Some(zone) => snapshot.put(zone),
            None => snapshot.remove(&name),
        }
    }
}

fn changed(name: &Name, before: Option<Zone>, written: &[Written]) -> Option<Zone> {
    let row = written.iter().find(|row| row.kind == rows::ZONE);
    let mut zone = match (row.map(|row| row.value.as_deref()), before) {
        (Some(None), _) | (None, None) => return None,
        (None, Some(before)) => before,
        (Some(Some(value)), before) => match (rows::zone(value), before) {
            (Ok(soa), Some(mut before)) => {
                before.set_soa(soa);
                before
            }
            (Ok(soa), None) => Zone::new(soa),
            (Err(error), before) => {
                tracing::error!(%error, zone = %name, "what is recorded of a zone cannot be read");
                before?
            }
        },
    };
    for row in written.iter().filter(|row| row.kind != rows::ZONE) {
        let outcome = match &row.value {
            Some(value) => rows::set(name, &row.name, value).map(|set| zone.put(&set)),
            None => rows::key(name, &row.name).map(|(owner, rtype)| zone.remove(&owner, rtype)),
        };
        if let Err(error) = outcome {
            tracing::error!(%error, zone = %name, row.name, "recorded records cannot be read");
        }
    }
    Some(zone)
}
