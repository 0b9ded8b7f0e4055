//! The worker as a process, driven through the host's side by effects that only pretend.

mod coroutines;
mod durable;
mod effects;
mod ends;
mod hostile;
mod plan;
mod replay;
mod require;
mod secrets;
mod support;
