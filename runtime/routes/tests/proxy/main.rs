//! The embedded proxy, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod changes;
mod origins;
mod support;
mod terms;
mod through;
mod tls;
