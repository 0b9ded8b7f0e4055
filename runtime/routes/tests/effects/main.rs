//! The effects of the primitive over a proxy in memory: what they take, what they refuse, what a plan may know, and what
//! undo brings back.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod bench;
mod change;
mod memory;
mod refuse;
