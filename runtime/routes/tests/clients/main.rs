//! The embedded proxy before clients, back ends and files that others made: h2load, curl, httpx, hyper-h2, websockets,
//! testssl.sh, Caddy, and databases in MaxMind's format. `tests/install.sh` has them.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod backend;
mod behind;
mod countries;
mod load;
mod logs;
mod paused;
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "../conformance/program.rs"]
mod program;
mod python;
mod stage;
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "../proxy/support.rs"]
mod support;
mod weak;
