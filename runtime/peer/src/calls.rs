//! Calls between programs of mcrun: gRPC over HTTP/2.
//!
//! Owns connections of both sides, with bounds on everything that a caller controls, how failures cross, and what is said
//! where the two sides are of different versions. Leaves to the rooms what calls mean and who may make them.

mod failure;
mod frame;
mod version;
mod way;

pub use failure::{Codes, error_of, failure_of, status, told};
pub use frame::{Bounds, Over, Refused, serve, whole};
pub use version::{OURS, skew};
pub use way::{Broken, Way};
