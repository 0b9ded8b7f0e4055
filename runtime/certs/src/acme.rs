//! ACME (RFC 8555): the way to other authorities that speak it.

pub mod driver;
