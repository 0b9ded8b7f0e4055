//! The daemon's API, spoken to by clients that are right, wrong, slow, many, or not allowed to.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod accounts;
mod approvals;
mod doors;
mod every_call;
mod executor;
mod following;
mod frames;
mod keys;
mod leaving;
mod stage;
mod tls;
mod versions;
