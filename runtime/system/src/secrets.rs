//! Owns where secrets come from: files, environment variables and commands that the operator configured, and where each
//! may go. Leaves their way through the corridor to `effect::secret`.

mod get;
mod source;
mod store;

use std::sync::Arc;

use effect::Registry;

use crate::World;

pub use get::Get;
pub use source::SecretSource;
pub use store::SecretStore;

/// Registers `secrets.get`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.read::<Get>(world);
}
