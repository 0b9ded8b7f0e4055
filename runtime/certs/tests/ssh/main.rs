//! The authority for SSH through the corridor, proved with OpenSSH: `ssh-keygen` reads what it signs, a real server lets
//! users in and keeps them out, and a real client trusts the host.

#![allow(clippy::unwrap_used, reason = "in tests and their helpers a panic is the failure")]

mod bench;
mod certificates;
mod hostile;
mod logins;
mod revocations;
mod server;
