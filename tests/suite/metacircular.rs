//! The platform that ships in `scripts/metacircular`, on a real engine: twelve containers of stand-in images.
//!
//! `platform` is what tests of it begin with.

mod deployed;
pub(crate) mod engine;
mod incident;
mod mishaps;
mod netavark;
mod network;
pub(crate) mod platform;
mod record;
mod standin;
mod synced;
