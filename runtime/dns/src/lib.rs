//! The primitive of names: the trait of its drivers, the embedded server, and the ways to others.
//!
//! Owns zones and their records, how they are looked up and forwarded, and the record of them. Leaves binding sockets to
//! the edge.

pub mod driver;
pub mod effects;
pub mod embedded;
mod exclusive;
pub mod file;
pub mod forward;
pub mod name;
pub mod record;
pub mod rest;
pub mod rfc2136;
mod seen;
pub mod server;
pub mod settings;

pub use driver::{Change, Driver, Feature, Zone, zone_of};
pub use name::Name;
pub use peer::Secrets;
pub use record::{RecordSet, RecordType, Value};
pub use seen::seen;
pub use settings::{Choice, Settings};
