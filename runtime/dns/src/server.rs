//! The server: what answers questions from the zones, and asks others for the rest.

pub mod counts;
mod follow;
mod lookup;
pub mod query;
mod reply;
pub mod service;
pub mod snapshot;
pub mod tcp;
pub mod trace;
pub mod udp;
pub mod zone;

pub use service::Service;
pub use snapshot::Snapshot;
pub use zone::Zone;
