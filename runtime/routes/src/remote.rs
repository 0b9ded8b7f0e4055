//! One mcrun drives another's proxy: the driver that makes the calls of `proto/mcrun/v1/routes.proto`, and what answers
//! them over any driver, within rules.

mod client;
mod connect;
mod convert;
mod doorkeeper;
mod failure;
mod listen;
mod noted;
mod rules;
mod server;
mod settings;
mod version;
mod watch;

pub use client::Client;
pub use doorkeeper::{Doorkeeper, Pass};
pub use listen::{Caller, MOST_CONNECTIONS, serve};
pub use rules::Rules;
pub use server::{AUTO, Issuer, Server};
pub use settings::Settings;
pub use watch::{Change, Watch};
