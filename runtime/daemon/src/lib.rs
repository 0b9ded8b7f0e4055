//! The daemon: what holds sockets and waits.
//!
//! Owns the API, playbooks and their triggers, what is watched and told of, listening, what is published of the embedded
//! authority, and the renewal of certificates. Leaves what a run does to whoever runs scripts.

mod accept;
pub mod api;
pub mod bind;
pub mod edge;
pub mod events;
pub mod feed;
pub mod identity;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod monitors;
pub mod playbooks;
pub mod publish;
pub mod renewals;
pub mod routes;
pub mod runs;
pub mod socket;
pub mod telemetry;
pub mod triggers;
