//! The worker as a process, driven through the host's side by effects that only pretend.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod cancelling;
mod cases;
mod coroutines;
mod data;
mod drain;
mod durable;
mod effects;
mod ends;
mod hostile;
mod plan;
mod playbooks;
mod replay;
mod require;
mod secrets;
mod support;
mod template;
