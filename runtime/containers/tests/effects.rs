//! The effects of the primitive on native programs: what they take, what they refuse, what a plan may know.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "effects/bench.rs"]
mod bench;
#[path = "effects/engine.rs"]
mod engine;
#[path = "effects/ensure.rs"]
mod ensure;
#[path = "effects/memory.rs"]
mod memory;
#[path = "effects/operate.rs"]
mod operate;
