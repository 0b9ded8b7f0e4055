//! Owns what scripts see of records and zones, and what undo brings back.

use effect::{FieldChange, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::differences;
use crate::driver::Zone;
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Value};

/// What a name has of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Records {
    /// The zone.
    pub zone: Name,
    /// The name within the zone; `@` is the zone itself.
    pub name: String,
    /// The type, `A`.
    #[serde(rename = "type")]
    pub rtype: RecordType,
    /// How many seconds others may keep it.
    pub ttl: u32,
    /// The values as a zone file has them.
    pub values: Vec<String>,
}

impl Records {
    pub(super) fn new(zone: &Name, set: &RecordSet) -> Self {
        Self {
            zone: zone.clone(),
            name: set.name.in_zone(zone),
            rtype: set.rtype,
            ttl: set.ttl,
            values: set.texts(),
        }
    }

    /// The set that these records are.
    pub(super) fn set(&self) -> Result<RecordSet> {
        let name = Name::within(&self.name, &self.zone)?;
        let values = self.values.iter().map(|text| Value::parse(self.rtype, text, &self.zone));
        RecordSet::new(name, self.rtype, self.ttl, values.collect::<Result<_>>()?)
    }

    pub(super) fn differences(before: Option<&Self>, after: Option<&Self>) -> Vec<FieldChange> {
        differences(
            before,
            after,
            &[("ttl", |records| json!(records.ttl)), ("values", |records| json!(records.values))],
        )
    }
}

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneState {
    /// What its SOA says.
    #[serde(flatten)]
    pub soa: Zone,
    /// Its own name servers.
    pub nameservers: Vec<String>,
    /// How many seconds others may keep these.
    pub ttl: u32,
    /// How many sets of records it has, its own name servers included.
    pub sets: usize,
    /// Its records, where they are needed to bring it back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Records>,
    /// Whether an effect of the plan makes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_new: bool,
}

impl ZoneState {
    /// The zone with the sets that it has, which are kept where `is_whole`.
    pub(super) fn new(soa: Zone, sets: &[RecordSet], is_whole: bool) -> Self {
        let own = sets.iter().find(|set| set.name == soa.zone && set.rtype == RecordType::NS);
        Self {
            nameservers: own.map(RecordSet::texts).unwrap_or_default(),
            ttl: own.map_or(soa.minimum, |set| set.ttl),
            sets: sets.len(),
            records: match is_whole {
                true => sets.iter().map(|set| Records::new(&soa.zone, set)).collect(),
                false => Vec::new(),
            },
            soa,
            is_new: false,
        }
    }

    /// Its own name servers as records.
    pub(super) fn nameservers(&self) -> Result<RecordSet> {
        RecordSet::parse(&self.soa.zone, "@", RecordType::NS, self.ttl, &self.nameservers)
    }

    /// Every set that was kept with it.
    pub(super) fn kept(&self) -> Result<Vec<RecordSet>> {
        self.records.iter().map(Records::set).collect()
    }

    pub(super) fn differences(before: Option<&Self>, after: Option<&Self>) -> Vec<FieldChange> {
        differences(
            before,
            after,
            &[
                ("nameservers", |zone| json!(zone.nameservers)),
                ("ttl", |zone| json!(zone.ttl)),
                ("primary", |zone| json!(zone.soa.primary)),
                ("admin", |zone| json!(zone.soa.admin)),
                ("refresh", |zone| json!(zone.soa.refresh)),
                ("retry", |zone| json!(zone.soa.retry)),
                ("expire", |zone| json!(zone.soa.expire)),
                ("minimum", |zone| json!(zone.soa.minimum)),
            ],
        )
    }
}
