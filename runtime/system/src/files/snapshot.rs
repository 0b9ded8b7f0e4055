//! Owns snapshots: a folder as `tar.zst` that keeps owners, modes, times, symbolic and hard links, and the way back. Leaves
//! who is stopped meanwhile, and which snapshots are kept, to `@std/snapshot`.
//!
//! A snapshot is an archive that `tar` unpacks as well. What it says about itself lies in comments of the format: at its
//! beginning what it is of, at its end how much it holds and the sum of everything before. One without an end is torn.

mod about;
mod compare;
mod exchange;
mod list;
mod pack;
mod read;
mod restore;
mod seal;
mod take;
#[cfg(test)]
mod tests;
mod unpack;
mod verify;
pub(super) mod walk;

pub use list::Snapshots;
pub use restore::Restore;
pub use take::Snapshot;
pub use verify::Verify;

use effect::units::Size;

/// How many bytes a snapshot holds at most, unless a call says otherwise.
fn default_limit() -> Size {
    Size(1 << 40)
}

/// How many files and folders a snapshot holds at most, unless a call says otherwise.
fn default_entries() -> u64 {
    10_000_000
}

/// How much may be packed or unpacked.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    bytes: u64,
    entries: u64,
}
