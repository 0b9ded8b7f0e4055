//! Owns what fuzzing calls: the parts that take in what others have written, without the processes around them. It lies in
//! every build, so that the targets and the tests that replay their seeds run the same code.

pub use crate::host::hear;
pub use crate::worker::data::call_pure;
