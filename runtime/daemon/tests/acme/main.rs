//! The ACME server behind its listener, with the clients that people use, and with those that mean harm.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod account;
mod authority;
mod certbot;
mod client;
mod hostile;
mod lego;
mod limits;
mod listener;
mod order;
mod proofs;
mod python;
mod stage;
mod zone;
