//! The primitive `containers`: what a container is, how it differs from the live object, and the drivers that make
//! it so. Knows nothing of Lua, journal or plan.

mod adopt;
pub mod attach;
mod cgroup;
pub mod claims;
pub mod command_line;
pub mod diff;
pub mod docker;
pub mod doctor;
pub mod driver;
pub mod effects;
pub mod engine;
pub mod features;
pub mod images;
pub mod observed;
pub mod orphans;
mod output;
pub mod podman;
pub mod ports;
pub mod process;
mod secrets;
pub mod shell;
pub mod spec;
pub mod usage;

pub use adopt::Description;
pub use attach::{Attach, Attached, Window};
pub use claims::{Claim, Claims};
pub use diff::{Action, Diff, FieldDiff, check_ownership, diff};
pub use driver::{Driver, Exec, ExecOutput, LogLine, LogQuery, Stream};
pub use features::Feature;
pub use observed::{ImageDefaults, Observed, State};
pub use orphans::Orphan;
pub use spec::{Health, Port, Protocol, Restart, SecretMaterial, Secrets, Spec};
pub use usage::Usage;
