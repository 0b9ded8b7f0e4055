//! One mcrun drives another's routes: over the socket and by mutual TLS, with peers that are right, wrong, slow or gone.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod certificates;
mod doors;
mod driving;
mod peers;
mod stage;
mod versions;
mod watching;
