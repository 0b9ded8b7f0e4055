//! The primitive of identity: the trait of its drivers, and the embedded service with accounts, passwords, tokens, second
//! factors and the login policy.
//!
//! Owns who somebody is and whether they may sign in to a service, and what is asked of that by HTTP. Leaves what they may
//! do there to that service, and listening on sockets to the daemon.

pub mod account;
pub mod asker;
mod attempts;
pub mod credentials;
pub mod driver;
pub mod effects;
pub mod embedded;
pub mod external;
mod keys;
pub mod name;
pub mod passkey;
pub mod password;
pub mod policy;
mod random;
pub mod remote;
pub mod secrets;
pub mod settings;
pub mod sso;
mod store;
pub mod token;
pub mod web;
pub mod witness;

pub use account::{Account, Kind, Role, Status};
pub use asker::Asker;
pub use credentials::{Factor, First, FirstFactor, Second, Shown};
pub use driver::{Driver, Feature};
pub use embedded::{Embedded, Live, Outcome, SignIn};
pub use name::{Email, Name};
pub use settings::{Choice, Settings};
pub use web::Web;
pub use witness::{Event, Reason, Witness};
