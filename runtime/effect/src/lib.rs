//! The corridor that every effect takes: declaration, argument check, policy, replay order, plan and journal.
//!
//! Owns what is the same for every effect. Leaves what an effect does to the primitive crates, which declare their
//! effects with the traits of [`declaration`], and the script's side of the pipe to the `script` crate.

pub mod access;
pub mod approval;
pub mod arguments;
mod checkpoint;
pub mod codes;
pub mod context;
pub mod declaration;
mod erased;
pub mod error;
pub mod plan;
pub mod policy;
pub mod principal;
pub mod registry;
pub mod runs;
pub mod saved;
pub mod secret;
pub mod session;
mod standin;
pub mod text;
pub mod units;

pub use context::{Context, Mode};
pub use declaration::{
    Act, Applied, Declaration, Declared, Doubt, Ensure, Ensured, Kind, OnDoubt, Read, Wait,
};
pub use erased::Rewind;
pub use error::{Code, Error, Result};
pub use journal::{Timestamp, reached};
pub use plan::{Action, Change, FieldChange, Overlay};
pub use policy::{Access, Capability, Need, Policy};
pub use principal::Principal;
pub use registry::Registry;
pub use secret::{Hidden, Sealer, Secret, Secrets};
pub use session::{Answer, Event, Observer, Request, Session, Stop};
pub use standin::{Asked, StandIn};
pub use text::Text;
