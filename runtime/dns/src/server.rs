//! The server: what answers questions from the zones, and asks others for the rest.

mod lookup;
pub mod query;
mod reply;
pub mod snapshot;
pub mod zone;

pub use snapshot::Snapshot;
pub use zone::Zone;
