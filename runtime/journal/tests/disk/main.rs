//! The journal on a disk that loses power, runs full and breaks: SQLite works on a layer that records what was written and
//! what was synced.

#![allow(clippy::unwrap_used, reason = "a test helper that cannot go on fails the test")]

mod faults;
mod image;
mod power;
mod recorder;
#[path = "../journal/support.rs"]
#[expect(dead_code, reason = "the other programs use the rest")]
mod support;
mod vfs;
mod work;
