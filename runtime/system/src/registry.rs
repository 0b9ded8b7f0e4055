//! Owns the registry: the recorded desired state of every service and the releases that led to it.
//!
//! A record `service` holds the state; records `release`, named SERVICE/NUMBER, its history.

mod difference;
mod put;
mod queries;
mod remove;
mod rewind;

use std::collections::BTreeMap;
use std::sync::Arc;

use effect::{Code, Context, Error, Result};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::World;

pub use put::{NewRelease, Put};
pub use queries::{Get, List, Releases};
pub use remove::Remove;

const SERVICE: &str = "service";
const RELEASE: &str = "release";

/// Registers the effects on the registry.
pub fn register(registry: &mut effect::Registry, world: &Arc<World>) {
    registry.ensure::<Put>(world);
    registry.ensure::<Remove>(world);
    registry.read::<Get>(world);
    registry.read::<List>(world);
    registry.read::<Releases>(world);
}

/// The desired state of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// Its name.
    pub service: String,
    /// What was described, as the script gave it.
    pub spec: Map<String, Value>,
    /// The version of the latest release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The number of the latest release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// Containers that mcrun did not make and that belong to the service: the engine's ids by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub adopted: BTreeMap<String, String>,
}

/// A state that a service was once brought into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// The service.
    pub service: String,
    /// Counts from 1.
    pub number: u64,
    /// The version.
    pub version: String,
    /// What was described.
    pub spec: Map<String, Value>,
    /// What the script noted beside it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// When it was recorded, in seconds since 1970.
    pub at: f64,
}

/// The name of the record that a release of a service has.
#[must_use]
pub fn release_name(service: &str, number: u64) -> String {
    // Padded, so that names sort as numbers do.
    format!("{service}/{number:010}")
}

fn release_key(context: &Context, node: &str, name: &str) -> String {
    context.key("registry-release", Some(node), name)
}

fn decode<T: DeserializeOwned>(value: &str) -> Result<T> {
    serde_json::from_str(value).map_err(|error| {
        Error::new(Code::JournalBroken, "a record of the registry cannot be decoded").because(error)
    })
}

/// Every service of a node: what is recorded, as the plan will have changed it.
async fn services(context: &Context, node: &str) -> Result<Vec<Service>> {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for record in context.journal.records(SERVICE, Some(node)).await? {
        services.insert(context.key("registry", Some(node), &record.name), decode(&record.value)?);
    }
    for (key, planned) in context.overlay.beneath::<Service>(&context.key("registry", Some(node), "")) {
        match planned {
            Some(service) => services.insert(key, service),
            None => services.remove(&key),
        };
    }
    Ok(services.into_values().collect())
}

/// The host ports that containers of services publish, as it is recorded.
pub(crate) async fn published(context: &Context, node: &str) -> Result<Vec<u16>> {
    let list = |of: &Value, field: &str| of[field].as_array().cloned().unwrap_or_default();
    let mut ports = Vec::new();
    for service in services(context, node).await? {
        for container in list(&Value::Object(service.spec), "containers") {
            let hosts = list(&container, "ports").into_iter().filter_map(|port| port["host"].as_u64());
            ports.extend(hosts.filter_map(|host| u16::try_from(host).ok()));
        }
    }
    Ok(ports)
}

/// The releases of a service, newest first: what is recorded and what the plan will have added.
async fn releases(context: &Context, node: &str, service: &str) -> Result<Vec<Release>> {
    let prefix = format!("{service}/");
    let mut found: BTreeMap<u64, Release> = BTreeMap::new();
    for record in context.journal.records(RELEASE, Some(node)).await? {
        if record.name.starts_with(&prefix) {
            let release: Release = decode(&record.value)?;
            found.insert(release.number, release);
        }
    }
    for (_, planned) in context.overlay.beneath::<Release>(&release_key(context, node, &prefix)) {
        found.extend(planned.map(|release| (release.number, release)));
    }
    Ok(found.into_values().rev().collect())
}
