//! The effects of this crate through the corridor: real processes, files, sockets and a real journal.

#![allow(clippy::unwrap_used, reason = "in tests and their helpers a panic is the failure")]

mod approvals;
mod archives;
mod bench;
mod damaged_archives;
mod documents;
mod exec;
mod exec_confined;
mod files;
mod health;
mod http;
mod ports;
mod registry;
mod rewinding;
mod secrets;
mod server;
mod time;
mod trees;
