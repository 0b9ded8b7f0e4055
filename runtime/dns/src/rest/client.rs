//! The driver that makes the calls of mcns.
//!
//! Owns the settings, and which call of the driver becomes which calls over HTTP. The order of those that make a change is
//! in `rest/change.rs`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use effect::{Code, Error, Result};
use http::Method;
use peer::Limits;
use serde::Deserialize;
use url::{Host, Url};

use super::api::{NewZone, Record, Records, Zones};
use super::ask::{Api, Call, KIND, LARGEST_ANSWER, admit, garbage, segment};
use super::change;
use crate::Secrets;
use crate::driver::{Change, Driver, Feature, Zone};
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Value};
use crate::settings::Address;

const FEATURES: [Feature; 3] = [Feature::Zones, Feature::ZoneList, Feature::Listing];
/// Where questions are answered when `servers` does not say it.
const PORT: u16 = 53;

/// `[drivers.rest]` of mcrun.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its address, `"https://mcns.example:8443"`.
    pub url: String,
    /// The secret of mcrun.toml that holds the token.
    pub token: String,
    /// A file of certificates in PEM that is trusted for the address instead of the system's authorities.
    pub ca: Option<PathBuf>,
    /// Every server that answers questions about the zones, for `dns.wait_for`; port 53 of the address unless given, where
    /// that is no name.
    #[serde(default)]
    pub servers: Vec<Address>,
    /// For how long one answer is waited for.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

/// What the driver is put together from.
pub struct Parts {
    /// The secrets that it may have: those for `dns:rest`.
    pub secrets: Secrets,
}

/// The way to one server.
pub struct Client {
    pub(super) api: Api,
    servers: Vec<SocketAddr>,
}

impl Client {
    /// Puts it together; nothing is asked yet.
    ///
    /// # Errors
    /// `MC-U002` where the settings make no sense.
    pub fn new(settings: Settings, parts: Parts) -> Result<Self> {
        let wrong = |why: &dyn std::fmt::Display| {
            Error::new(Code::Config, "[drivers.rest] url: this is not an address").because(why)
        };
        let url = Url::parse(&settings.url).map_err(|error| wrong(&error))?;
        if url.cannot_be_a_base() || url.query().is_some() || !url.username().is_empty() {
            return Err(wrong(&"it has more than scheme, host, port and path"));
        }
        admit(&url)?;
        let servers = match (settings.servers.as_slice(), url.host()) {
            ([], Some(Host::Ipv4(address))) => vec![SocketAddr::from((address, PORT))],
            ([], Some(Host::Ipv6(address))) => vec![SocketAddr::from((address, PORT))],
            (servers, _) => servers.iter().map(|server| server.0).collect(),
        };
        let limits =
            Limits { connect: settings.timeout.0, answer: settings.timeout.0, largest: LARGEST_ANSWER };
        let api = Api {
            url,
            token: settings.token,
            secrets: parts.secrets,
            client: peer::Client::new(KIND, limits, settings.ca),
        };
        Ok(Self { api, servers })
    }

    /// The records of the zone that are asked for.
    pub(super) async fn records(&self, zone: &Name, asked: Asked<'_>) -> Result<Vec<Found>> {
        let what = format!("the records of `{zone}`");
        let segment = segment(zone)?;
        let path = [segment.as_str(), "records"];
        let (name, rtype) = match asked {
            Asked::All => (None, None),
            Asked::Name(name) => (Some(name), None),
            Asked::Set(name, rtype) => (Some(name), Some(rtype)),
        };
        let texts = (name.map(|name| name.in_zone(zone)), rtype.map(|rtype| rtype.to_string()));
        let name_asked = texts.0.as_deref().map(|name| ("name", name));
        let query: Vec<(&str, &str)> =
            name_asked.into_iter().chain(texts.1.as_deref().map(|rtype| ("type", rtype))).collect();
        let call = Call::new(Method::GET, &path, &what).asking(&query);
        let records: Records = self.api.read(call).await?;
        let mut found = Vec::with_capacity(records.records.len());
        for record in records.records {
            let one = self.found(zone, record)?;
            let is_wanted =
                name.is_none_or(|name| one.name == *name) && rtype.is_none_or(|rtype| one.rtype == rtype);
            if is_wanted && one.rtype != RecordType::SOA {
                found.push(one);
            }
        }
        Ok(found)
    }

    fn found(&self, zone: &Name, record: Record) -> Result<Found> {
        let parsed = || {
            let rtype: RecordType = record.kind.parse()?;
            let value = Value::parse(rtype, &record.value, zone)?;
            Ok((Name::within(&record.name, zone)?, rtype, value))
        };
        let (name, rtype, value) =
            parsed().map_err(|error: Error| garbage(&self.api.url, format!("a record: {error}")))?;
        Ok(Found { id: record.id, name, rtype, ttl: record.ttl, value })
    }
}

/// Which records are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    All,
    Name(&'a Name),
    Set(&'a Name, RecordType),
}

/// One record that is there.
pub(super) struct Found {
    pub(super) id: String,
    pub(super) name: Name,
    pub(super) rtype: RecordType,
    pub(super) ttl: u32,
    pub(super) value: Value,
}

/// The sets that records make, sorted by name and type.
fn sets(records: Vec<Found>) -> Result<Vec<RecordSet>> {
    let mut by_name = std::collections::BTreeMap::<(Name, RecordType), (u32, Vec<Value>)>::new();
    for record in records {
        let entry = by_name.entry((record.name, record.rtype)).or_insert((record.ttl, Vec::new()));
        // RFC 2181, section 5.2: where they differ, the lowest counts.
        entry.0 = entry.0.min(record.ttl);
        entry.1.push(record.value);
    }
    let sets = by_name.into_iter();
    sets.map(|((name, rtype), (ttl, values))| RecordSet::new(name, rtype, ttl, values)).collect()
}

#[async_trait]
impl Driver for Client {
    fn name(&self) -> &'static str {
        "rest"
    }

    fn features(&self) -> &[Feature] {
        &FEATURES
    }

    async fn zones(&self) -> Result<Vec<Zone>> {
        let zones: Zones = self.api.read(Call::new(Method::GET, &[], "the list of zones")).await?;
        Ok(zones.zones)
    }

    async fn zone(&self, zone: &Name) -> Result<Option<Zone>> {
        let what = format!("the zone `{zone}`");
        match self.api.read(Call::new(Method::GET, &[&segment(zone)?], &what)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.code == Code::DnsZone => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, zone: &Name, name: &Name, rtype: RecordType) -> Result<Option<RecordSet>> {
        Ok(sets(self.records(zone, Asked::Set(name, rtype)).await?)?.pop())
    }

    async fn list(&self, zone: &Name) -> Result<Vec<RecordSet>> {
        sets(self.records(zone, Asked::All).await?)
    }

    async fn change(&self, zone: &Name, change: &Change) -> Result<()> {
        change::make(self, zone, change).await
    }

    async fn put_zone(&self, zone: &Zone, nameservers: &RecordSet) -> Result<()> {
        let what = format!("the zone `{}`", zone.zone);
        let segment = segment(&zone.zone)?;
        let path = [segment.as_str()];
        let call = Call::new(Method::PUT, &path, &what).saying(&NewZone::new(zone, nameservers))?;
        let _: Zone = self.api.read(call).await?;
        Ok(())
    }

    async fn remove_zone(&self, zone: &Name) -> Result<()> {
        let what = format!("the zone `{zone}`");
        self.api.tell(Call::new(Method::DELETE, &[&segment(zone)?], &what)).await.map(drop)
    }

    fn servers(&self) -> Vec<SocketAddr> {
        self.servers.clone()
    }
}
