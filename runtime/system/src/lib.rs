//! The helpers beside the five platform primitives: time, programs, files, HTTP, health, nodes, ports, secrets, the registry
//! of services, approvals and documents; and the backup of mcrun's own state. Each module declares the effects of one family and registers them with the corridor.
//!
//! Leaves containers, routes, DNS, certificates and identity to their own crates, and policy, journal and plan to the
//! corridor.

pub mod approvals;
pub mod backup;
pub mod clock;
pub mod documents;
pub mod event;
pub mod exec;
pub mod files;
pub mod health;
pub mod http;
pub mod markdown;
mod node;
pub mod nodes;
pub mod pause;
pub mod ports;
pub mod registry;
pub mod secrets;
mod world;

use std::sync::Arc;

pub use health::ServiceLogs;
pub use secrets::{SecretSource, SecretStore};
pub use world::World;

/// Registers every effect of this crate.
pub fn register(registry: &mut effect::Registry, world: &Arc<World>) {
    approvals::register(registry, world);
    backup::register(registry, world);
    clock::register(registry, world);
    documents::register(registry, world);
    event::register(registry, world);
    exec::register(registry, world);
    files::register(registry, world);
    health::register(registry, world);
    http::register(registry, world);
    nodes::register(registry, world);
    pause::register(registry, world);
    ports::register(registry, world);
    registry::register(registry, world);
    secrets::register(registry, world);
}
