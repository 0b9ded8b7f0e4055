//! The primitive of certificates: the trait of its drivers, the embedded authority, and the ways to others.
//!
//! Owns names, keys, profiles, the policy on names and the record of every certificate. Leaves listening on sockets to
//! the daemon, and how files are written to whoever fills in [`files::Files`].

pub mod acme;
pub mod certificate;
mod chain;
pub mod driver;
pub mod effects;
pub mod embedded;
pub mod files;
mod holder;
pub mod key;
pub mod names;
pub mod peer;
pub mod policy;
pub mod profile;
pub mod renewal;
pub mod request;
pub mod settings;
pub mod ssh;
pub mod store;
pub mod transfer;
pub mod vault;

pub use ::peer::Secrets;
pub use certificate::Certificate;
pub use driver::{Driver, Feature, Issued, Order, Progress, Reason};
pub use key::{Key, KeyType};
pub use names::{Name, Names};
pub use policy::{Policy, Rules};
pub use profile::{Profile, Profiles};
pub use settings::{Choice, Settings};
