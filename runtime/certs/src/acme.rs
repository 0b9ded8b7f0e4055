//! Owns ACME (RFC 8555), by which machines get certificates without people: the server that others get theirs from, and
//! the way to other authorities.

pub mod driver;
pub mod server;
