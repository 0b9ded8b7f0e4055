//! The ACME server behind its listener, with the clients that people use, and with those that mean harm.

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
