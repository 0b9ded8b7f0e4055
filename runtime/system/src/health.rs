//! Owns health checks: probes that mcrun itself runs, and how long it goes on until one is content.
//!
//! The probes are a library too: whoever waits for a container uses [`wait_until_healthy`] or [`wait_until`].

mod check;
mod effects;
mod gate;
mod probe;

use std::sync::Arc;

use async_trait::async_trait;
use effect::Registry;

use crate::World;

pub use check::{Failure, Timing, wait_until, wait_until_healthy};
pub use effects::{Exec, Healthy, Http, Tcp};
pub use gate::{Gate, Gated};
pub use probe::{ExecProbe, HttpProbe, Probe, Statuses, TcpProbe};

/// Registers `health.http`, `health.tcp`, `health.exec` and `health.gate`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.wait::<Http>(world);
    registry.wait::<Tcp>(world);
    registry.wait::<Exec>(world);
    registry.wait::<Gate>(world);
}

/// Knows what services last wrote to their logs.
#[async_trait]
pub trait ServiceLogs: Send + Sync {
    /// The last `count` lines of a service; none when there is no such service.
    async fn last_lines(&self, service: &str, count: usize) -> Vec<String>;
}
