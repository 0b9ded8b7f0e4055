//! Owns what the calls say: zones, records and errors as JSON. `proto/mcns/v1.json` describes the same.

use effect::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use crate::driver;
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Value};

/// One record: one value of a name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Opaque.
    pub(super) id: String,
    /// Relative to the zone, `@` for the zone itself.
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// As in a zone file.
    pub(super) value: String,
    /// In seconds.
    pub(super) ttl: u32,
}

/// A record to be made, or what one becomes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRecord {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) value: String,
    pub(super) ttl: u32,
}

impl NewRecord {
    pub(super) fn new(zone: &Name, set: &RecordSet, value: &Value) -> Self {
        Self {
            name: set.name.in_zone(zone),
            kind: set.rtype.to_string(),
            value: value.text(set.rtype),
            ttl: set.ttl,
        }
    }

    /// The set that has this value alone.
    pub(super) fn set(&self, zone: &Name) -> Result<RecordSet> {
        let rtype: RecordType = self.kind.parse()?;
        if rtype == RecordType::SOA {
            return Err(Error::new(Code::DnsValue, "the SOA record is changed with its zone"));
        }
        RecordSet::parse(zone, &self.name, rtype, self.ttl, std::slice::from_ref(&self.value))
    }
}

/// Several records.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Records {
    pub(super) records: Vec<Record>,
}

/// Several zones.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Zones {
    pub(super) zones: Vec<driver::Zone>,
}

/// A zone to be made, or what one becomes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewZone {
    /// Its name, where the address does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) zone: Option<String>,
    pub(super) primary: String,
    pub(super) admin: String,
    pub(super) refresh: u32,
    pub(super) retry: u32,
    pub(super) expire: u32,
    pub(super) minimum: u32,
    /// The least serial that it has afterwards.
    #[serde(default)]
    pub(super) serial: u32,
    pub(super) nameservers: Vec<String>,
    /// Of the records of the name servers, in seconds.
    pub(super) ttl: u32,
}

impl NewZone {
    pub(super) fn new(zone: &driver::Zone, nameservers: &RecordSet) -> Self {
        Self {
            zone: None,
            primary: zone.primary.to_string(),
            admin: zone.admin.to_string(),
            refresh: zone.refresh,
            retry: zone.retry,
            expire: zone.expire,
            minimum: zone.minimum,
            serial: zone.serial,
            nameservers: nameservers.texts(),
            ttl: nameservers.ttl,
        }
    }

    pub(super) fn parts(&self, zone: Name) -> Result<(driver::Zone, RecordSet)> {
        let nameservers = RecordSet::parse(&zone, "@", RecordType::NS, self.ttl, &self.nameservers)?;
        let zone = driver::Zone {
            serial: self.serial,
            primary: Name::absolute(&self.primary)?,
            admin: Name::absolute(&self.admin)?,
            refresh: self.refresh,
            retry: self.retry,
            expire: self.expire,
            minimum: self.minimum,
            zone,
        };
        Ok((zone, nameservers))
    }
}

/// Why not.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: String,
}
