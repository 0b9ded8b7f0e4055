//! Owns the effects of the primitive, as scripts call them.

pub mod ssh;
