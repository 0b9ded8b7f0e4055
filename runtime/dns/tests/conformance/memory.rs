//! Owns a driver that keeps everything in memory: what stands behind the server of the calls, and a peer itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use dns::{Change, Driver, Feature, Name, RecordSet, RecordType, Zone};
use effect::{Code, Error, Result};

use crate::bench::{Peer, name, set, zone};

type Sets = BTreeMap<(Name, RecordType), RecordSet>;

/// Zones by their names.
pub(crate) struct Memory {
    zones: Mutex<BTreeMap<Name, (Zone, Sets)>>,
}

impl Memory {
    /// With the zone that every peer has.
    pub(crate) fn new() -> Self {
        let soa = Zone {
            zone: zone(),
            serial: 1,
            primary: name("ns1"),
            admin: name("hostmaster"),
            refresh: 3600,
            retry: 600,
            expire: 604_800,
            minimum: 300,
        };
        let sets = [set("@", "NS", 300, &["ns1", "ns2"]), set("ns1", "A", 300, &["192.0.2.53"])];
        let sets = sets.map(|set| ((set.name.clone(), set.rtype), set)).into();
        Self { zones: Mutex::new([(zone(), (soa, sets))].into()) }
    }

    fn with<T>(&self, zone: &Name, look: impl FnOnce(&mut Zone, &mut Sets) -> Result<T>) -> Result<T> {
        let mut zones = self.zones.lock().unwrap();
        let (zone, sets) = zones
            .get_mut(zone)
            .ok_or_else(|| Error::new(Code::DnsZone, format!("there is no zone `{zone}`")))?;
        look(zone, sets)
    }
}

fn changed(sets: &Sets, change: &Change) -> Result<Sets> {
    let mut after = sets.clone();
    for (name, rtype) in &change.remove {
        after.remove(&(name.clone(), *rtype));
    }
    for set in &change.put {
        after.insert((set.name.clone(), set.rtype), set.clone());
    }
    for (name, rtype) in after.keys() {
        let is_alone = after.keys().filter(|(other, _)| other == name).count() == 1;
        if *rtype == RecordType::CNAME && !is_alone {
            return Err(Error::new(Code::DnsExclusive, format!("`{name}` has a CNAME and something else")));
        }
    }
    Ok(after)
}

#[async_trait]
impl Driver for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }

    async fn zones(&self) -> Result<Vec<Zone>> {
        Ok(self.zones.lock().unwrap().values().map(|(zone, _)| zone.clone()).collect())
    }

    async fn zone(&self, zone: &Name) -> Result<Option<Zone>> {
        Ok(self.zones.lock().unwrap().get(zone).map(|(zone, _)| zone.clone()))
    }

    async fn get(&self, zone: &Name, name: &Name, rtype: RecordType) -> Result<Option<RecordSet>> {
        let found = self.with(zone, |_, sets| Ok(sets.get(&(name.clone(), rtype)).cloned()));
        // Others come in between, as where somebody has to be asked.
        tokio::task::yield_now().await;
        found
    }

    async fn list(&self, zone: &Name) -> Result<Vec<RecordSet>> {
        self.with(zone, |_, sets| Ok(sets.values().cloned().collect()))
    }

    async fn change(&self, zone: &Name, change: &Change) -> Result<()> {
        self.with(zone, |zone, sets| {
            let after = changed(sets, change)?;
            if after != *sets {
                *sets = after;
                zone.serial += 1;
            }
            Ok(())
        })
    }

    async fn put_zone(&self, zone: &Zone, nameservers: &RecordSet) -> Result<()> {
        let mut zones = self.zones.lock().unwrap();
        let (soa, sets) = zones.entry(zone.zone.clone()).or_insert((zone.clone(), Sets::new()));
        *soa = Zone { serial: soa.serial + 1, ..zone.clone() };
        sets.insert((nameservers.name.clone(), nameservers.rtype), nameservers.clone());
        Ok(())
    }

    async fn remove_zone(&self, zone: &Name) -> Result<()> {
        self.zones.lock().unwrap().remove(zone);
        Ok(())
    }

    fn servers(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}

/// It stands for itself as well: what the cases ask for can be had.
pub(crate) struct InMemory(pub(crate) Arc<Memory>);

impl Peer for InMemory {
    fn driver(&self) -> Arc<dyn Driver> {
        self.0.clone()
    }
}
