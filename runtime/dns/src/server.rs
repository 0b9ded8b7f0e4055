//! The server: what answers questions from the zones, and asks others for the rest.

pub mod beyond;
pub mod counts;
mod follow;
mod lookup;
pub mod notify;
pub mod query;
mod records;
mod repeats;
mod reply;
pub mod service;
pub mod signed;
pub mod snapshot;
pub mod tcp;
pub mod trace;
pub mod transfer;
pub mod udp;
pub mod update;
pub mod zone;

pub use beyond::Beyond;
pub use service::Service;
pub use snapshot::Snapshot;
pub use zone::Zone;
