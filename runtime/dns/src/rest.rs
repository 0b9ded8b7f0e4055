//! The REST calls of mcns, from both sides: the driver that makes them, and the server that answers them over any driver,
//! so that mcrun can stand in the place of mcns and one mcrun can drive another. The contract is `proto/mcns`.

mod api;
mod ask;
mod change;
mod client;
mod id;
pub mod server;
mod tokens;

pub use client::{Client, Parts, Settings};
pub use tokens::{TokenSettings, Tokens};
