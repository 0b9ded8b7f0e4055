//! The daemon: what holds sockets and waits.
//!
//! Owns listening, what is published of the embedded authority, and the renewal of certificates. Leaves what a renewal
//! does to whoever runs scripts, and the other answers to whoever is listened for.

pub mod edge;
pub mod identity;
pub mod listen;
pub mod publish;
pub mod renewals;
pub mod routes;
