//! Owns what every driver of names can do: the trait, its features, zones, and changes of their records. Drivers know
//! nothing of Lua, journal or plan.

use std::net::SocketAddr;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::record::{RecordSet, RecordType};

/// A zone, as its SOA record says (RFC 1035, section 3.3.13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Zone {
    /// Its name.
    pub zone: Name,
    /// Which version of its records stands; it only goes up (RFC 1982).
    pub serial: u32,
    /// The server that changes are made at.
    pub primary: Name,
    /// The mailbox of who is responsible, as a name: `hostmaster.mcrun.test`.
    pub admin: Name,
    /// After how many seconds secondaries look for a new version.
    pub refresh: u32,
    /// After how many seconds they look again where that failed.
    pub retry: u32,
    /// After how many seconds without the primary they stop answering.
    pub expire: u32,
    /// For how many seconds it is believed that there is no such record (RFC 2308).
    pub minimum: u32,
}

/// Whether the serial `other` is further on than `serial` (RFC 1982, section 3.2). Two that are exactly half of all apart
/// are not in any order.
#[must_use]
pub fn is_further(serial: u32, other: u32) -> bool {
    (1..1 << 31).contains(&other.wrapping_sub(serial))
}

/// A change of the records of one zone, made whole or not at all where the driver has [`Feature::Transactions`].
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Sets that stand afterwards, in the place of what the name had of the type.
    pub put: Vec<RecordSet>,
    /// What is taken away: every value that the name has of the type.
    pub remove: Vec<(Name, RecordType)>,
}

impl Change {
    /// `set` stands afterwards.
    #[must_use]
    pub fn putting(set: RecordSet) -> Self {
        Self { put: vec![set], remove: Vec::new() }
    }

    /// `name` has nothing of `rtype` afterwards.
    #[must_use]
    pub fn removing(name: Name, rtype: RecordType) -> Self {
        Self { put: Vec::new(), remove: vec![(name, rtype)] }
    }

    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.remove.is_empty()
    }
}

/// Something that not every driver has. What a driver lacks is refused when planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Making and removing zones.
    Zones,
    /// Listing every zone.
    ZoneList,
    /// Listing every record of a zone.
    Listing,
    /// Several sets in one change that is made whole or not at all.
    Transactions,
    /// Records of every type, those without a name included (RFC 3597).
    EveryType,
}

impl Feature {
    /// Every feature, for doctor and the conformance suite.
    pub const ALL: [Self; 5] =
        [Self::Zones, Self::ZoneList, Self::Listing, Self::Transactions, Self::EveryType];

    /// What every driver must have, beyond setting, reading and removing records of common types.
    pub const REQUIRED: [Self; 1] = [Self::Listing];

    /// The feature in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Zones => "making and removing zones",
            Self::ZoneList => "listing zones",
            Self::Listing => "listing records",
            Self::Transactions => "changes of several records at once",
            Self::EveryType => "records of every type",
        }
    }
}

/// What performs the effects of the primitive: a server, or the way to one.
///
/// Every call may be cut anywhere and is then made again. Names and values were checked before, and so was that a name
/// lies in its zone; exclusivity is checked by whoever has the records.
#[async_trait]
pub trait Driver: Send + Sync {
    /// `embedded`, `rfc2136`, `rest`.
    fn name(&self) -> &'static str;

    /// What it has.
    fn features(&self) -> &[Feature];

    /// Every zone. Only with [`Feature::ZoneList`].
    ///
    /// # Errors
    /// `MC-Q010` to `MC-Q012` where the server refuses, does not answer, or answers something else.
    async fn zones(&self) -> Result<Vec<Zone>>;

    /// The zone with this name; none where the server does not have it.
    ///
    /// # Errors
    /// As [`Driver::zones`].
    async fn zone(&self, zone: &Name) -> Result<Option<Zone>>;

    /// What `name` has of `rtype`, read from the records of the zone and not from what a wildcard stands for.
    ///
    /// # Errors
    /// As [`Driver::zones`]; `MC-Q004` where there is no such zone.
    async fn get(&self, zone: &Name, name: &Name, rtype: RecordType) -> Result<Option<RecordSet>>;

    /// Every set of a zone but its SOA, sorted by name and type.
    ///
    /// # Errors
    /// As [`Driver::get`].
    async fn list(&self, zone: &Name) -> Result<Vec<RecordSet>>;

    /// Makes `change`. What is so already is no error.
    ///
    /// # Errors
    /// As [`Driver::get`]; `MC-Q003` where records would stand beside each other that cannot.
    async fn change(&self, zone: &Name, change: &Change) -> Result<()>;

    /// Makes a zone with these name servers, or changes what its SOA says. Only with [`Feature::Zones`].
    ///
    /// # Errors
    /// As [`Driver::zones`].
    async fn put_zone(&self, zone: &Zone, nameservers: &RecordSet) -> Result<()>;

    /// Removes a zone with its records. Only with [`Feature::Zones`].
    ///
    /// # Errors
    /// As [`Driver::zones`].
    async fn remove_zone(&self, zone: &Name) -> Result<()>;

    /// The servers that answer questions about the zones; what `dns.wait_for` asks unless told.
    fn servers(&self) -> Vec<SocketAddr>;
}

/// The zone of `driver` in which the records of `name` lie: of those that it has, the nearest.
///
/// # Errors
/// As [`Driver::zones`].
pub async fn zone_of(driver: &dyn Driver, name: &Name) -> Result<Option<Name>> {
    let mut candidate = Some(name.clone());
    while let Some(zone) = candidate.filter(|name| name.labels() > 0) {
        if driver.zone(&zone).await?.is_some() {
            return Ok(Some(zone));
        }
        candidate = zone.parent();
    }
    Ok(None)
}

/// Refuses what the driver lacks.
///
/// # Errors
/// `MC-C006` naming the missing feature.
pub fn check_feature(driver: &dyn Driver, feature: Feature) -> Result<()> {
    if driver.features().contains(&feature) {
        return Ok(());
    }
    let message = format!("the dns driver `{}` does not have {}", driver.name(), feature.describe());
    Err(Error::new(Code::Unsupported, message)
        .hint("do this at the server itself, or choose another driver under [drivers] in mcrun.toml"))
}
