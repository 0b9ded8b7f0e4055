//! The embedded proxy, over real sockets.

mod changes;
mod origins;
mod support;
mod terms;
mod through;
mod tls;
