//! Owns the backup of mcrun's own state: which files of a state directory are needed to come back, the archive that holds
//! them, and how it is put in place again. A backup is taken while everything goes on, and is whole all the same: the database
//! is copied as of one moment, and every other file is written whole or not at all.

mod aside;
mod effect;
mod list;
mod manifest;
mod open;
mod pack;
mod restore;
mod seal;
mod stage;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use ::effect::{Code, Error, Registry};

use crate::World;

pub use effect::Backup;
pub use list::Backups;
pub use manifest::{Kept, Manifest};
pub use pack::{Taken, Taking, default_name, take};
pub use restore::{Found, Restored, check, restore};
pub(crate) use seal::Sink;
pub use seal::{Ask, is_sealed};

/// Registers `registry.backup` and `registry.backups`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.ensure::<Backup>(world);
    registry.read::<Backups>(world);
}

/// The error for a file that cannot be taken as a backup.
fn unusable(file: &Path, cause: impl std::fmt::Display) -> Error {
    Error::new(
        Code::BackupUnusable,
        format!("`{}` is no backup that mcrun has made, or damaged", file.display()),
    )
    .because(cause)
}

/// The error for a failure of the system on the way of a backup.
fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let error_of = Error::new(Code::FileFailed, format!("cannot {what} `{}`", path.display())).because(error);
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Error { code: Code::DiskFull, ..error_of }.hint("free some space; nothing was changed")
        }
        _ => error_of,
    }
}
