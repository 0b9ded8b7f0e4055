//! Owns where secrets come from: files, environment variables and commands that the operator configured, and the sealed
//! store; and where each may go. Leaves their way through the corridor to `effect::secret`.

mod get;
pub mod sealed;
mod source;
mod store;

use std::sync::Arc;

use effect::{Code, Error, Registry, Result};
use serde_json::Value;

use crate::World;

pub use get::Get;
pub use source::SecretSource;
pub use store::SecretStore;

/// Registers `secrets.get`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.read::<Get>(world);
}

/// Refuses a secret inside of free JSON: its handle would go out as its name, which nobody means.
pub(crate) fn refuse(value: &Value, field: &str, hint: &str) -> Result<()> {
    match value {
        Value::Object(fields) if fields.contains_key("$secret") => {
            Err(Error::new(Code::SecretPlace, format!("{field} does not take a secret")).hint(hint))
        }
        Value::Object(fields) => fields.values().try_for_each(|value| refuse(value, field, hint)),
        Value::Array(items) => items.iter().try_for_each(|value| refuse(value, field, hint)),
        _ => Ok(()),
    }
}
