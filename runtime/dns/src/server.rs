//! The server: what answers questions from the zones, and asks others for the rest.

pub mod beyond;
mod lookup;
pub mod notify;
pub mod query;
mod records;
mod repeats;
mod reply;
pub mod signed;
pub mod snapshot;
pub mod transfer;
pub mod update;
pub mod zone;

pub use beyond::{Beyond, Outcome};
pub use snapshot::Snapshot;
pub use zone::Zone;
