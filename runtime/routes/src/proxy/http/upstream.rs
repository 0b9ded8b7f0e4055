//! Owns connections to back ends: making them, keeping them for the next request, and speaking over them.

mod connect;
mod h1;
mod h2;
mod pool;

pub(super) use connect::{Place, Stream, connect};
pub(super) use h1::Http1;
pub(super) use h2::Way;
