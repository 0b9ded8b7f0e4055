//! Owns the ports that services get: recorded, so that they stay the same from run to run.
//!
//! Two records stand for one allocation: `port`, named SERVICE/NAME, and `port-number`, named by the number, whose
//! uniqueness keeps two services apart even when two runs choose at the same moment.

mod allocate;
mod release;
mod system;

use std::collections::BTreeMap;
use std::sync::Arc;

use effect::{Code, Context, Error, Registry, Result};
use journal::{Expect, Write};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::World;

pub use allocate::Allocate;
pub use release::Release;

/// The kind of the record by service and name.
const BY_NAME: &str = "port";
/// The kind of the record by number.
const BY_NUMBER: &str = "port-number";

/// Registers `ports.allocate` and `ports.release`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.ensure::<Allocate>(world);
    registry.ensure::<Release>(world);
}

/// A port that a service has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allocation {
    /// The service.
    pub service: String,
    /// What the service calls it.
    pub name: String,
    /// The number.
    pub port: u16,
}

impl Allocation {
    /// What records it under its name and its number, or takes both away.
    fn writes(&self, node: &str, expect: &Expect, is_there: bool) -> [Write; 2] {
        let write = |kind: &str, name: String, value: Value| Write {
            kind: kind.to_owned(),
            node: node.to_owned(),
            name,
            value: is_there.then(|| value.to_string()),
            expect: expect.clone(),
        };
        [
            write(BY_NAME, self.record_name(), json!(self)),
            write(BY_NUMBER, self.port.to_string(), json!(self.record_name())),
        ]
    }

    fn record_name(&self) -> String {
        record_name(&self.service, &self.name)
    }

    fn key(&self, context: &Context, node: &str) -> String {
        context.key("ports", Some(node), &self.record_name())
    }
}

fn record_name(service: &str, name: &str) -> String {
    format!("{service}/{name}")
}

/// Every allocation of a node: what is recorded, as the plan will have changed it.
async fn allocations(context: &Context, node: &str) -> Result<Vec<Allocation>> {
    let mut allocations = BTreeMap::new();
    for record in context.journal.records(BY_NAME, Some(node)).await? {
        let allocation: Allocation = decode(&record.value)?;
        allocations.insert(allocation.key(context, node), allocation);
    }
    for (key, planned) in context.overlay.beneath::<Allocation>(&context.key("ports", Some(node), "")) {
        match planned {
            Some(allocation) => allocations.insert(key, allocation),
            None => allocations.remove(&key),
        };
    }
    Ok(allocations.into_values().collect())
}

fn decode(value: &str) -> Result<Allocation> {
    serde_json::from_str(value)
        .map_err(|error| Error::new(Code::JournalBroken, "a recorded port cannot be decoded").because(error))
}

/// Refuses names that would read as something else in records, capabilities and environments.
pub(crate) fn check_service_name(what: &str, name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && name.len() <= 63 && name.chars().all(fits) {
        return Ok(());
    }
    let message =
        format!("{what} `{}` is not a name: letters, digits, `-`, `_`, `.`", crate::exec::clip(name));
    Err(Error::new(Code::Argument, message))
}
