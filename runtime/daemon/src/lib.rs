//! The daemon: what holds sockets and waits.
//!
//! Owns listening. Leaves what is answered to whoever it listens for.

pub mod listen;
