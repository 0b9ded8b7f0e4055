//! What is generated from `proto/`: the messages and calls of the daemon, and those by which one mcrun drives
//! another's proxy.
//!
//! Owns nothing beside. Leaves what the messages mean to the rooms that speak them.

/// `mcrun.v1`.
#[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated; the comments are in proto/")]
pub mod v1 {
    tonic::include_proto!("mcrun.v1");
}

/// The trailer in which a failed call carries its [`v1::Failure`].
pub const FAILURE: &str = "mcrun-failure-bin";
/// The header in which a caller names its version.
pub const VERSION: &str = "mcrun-version";
/// What `proto/` describes, encoded, for whoever asks a server for it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
/// Counts the changes of the daemon's calls that an older side does not understand.
pub const PROTOCOL: u32 = 1;
