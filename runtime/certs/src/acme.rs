//! Owns ACME (RFC 8555), by which machines get certificates without people: the server that others get theirs from.

pub mod server;
