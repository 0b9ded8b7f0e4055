//! Requests through the proxy, as clients send them and back ends get them.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod abuse;
mod backend;
mod curl;
mod framing;
mod grpc;
mod http2;
mod retries;
mod smuggling;
mod stage;
mod streaming;
mod tunnels;
