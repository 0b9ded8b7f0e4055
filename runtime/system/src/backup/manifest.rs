//! Owns what a backup says about itself, and which files of a state directory belong into one.

use std::path::{Component, Path};

use journal::DATABASE_VERSION;
use serde::{Deserialize, Serialize};

/// The form of the archives that are written here.
pub(super) const FORMAT: u32 = 1;
/// The entry that comes first.
pub(super) const NAME: &str = "manifest.json";
/// Beneath which the files lie in the archive.
pub(super) const FILES: &str = "files";
/// The database.
pub(super) const DATABASE: &str = "journal.db";
/// Where a backup is prepared, beneath the state directory.
pub(super) const STAGE: &str = ".backup";
/// No manifest is larger, in bytes.
pub(super) const LARGEST: u64 = 16 << 20;
/// No backup has more files.
pub(super) const MOST_FILES: usize = 100_000;

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the archive.
    pub mcrun_backup: u32,
    /// The mcrun that made it.
    pub mcrun: String,
    /// The version of its database.
    pub database: u32,
    /// The node whose state it is.
    pub node: String,
    /// When it was taken, in milliseconds since 1970.
    pub taken: i64,
    /// Its files, sorted by path.
    pub files: Vec<Kept>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Relative to the state directory.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// The permission bits.
    pub mode: u32,
    /// SHA-256 of the content, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// A manifest of this program.
    pub(super) fn new(node: &str, taken: i64, files: Vec<Kept>) -> Self {
        Self {
            mcrun_backup: FORMAT,
            mcrun: env!("CARGO_PKG_VERSION").to_owned(),
            database: DATABASE_VERSION,
            node: node.to_owned(),
            taken,
            files,
        }
    }

    /// How many bytes all files have.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// What is wrong with it, beyond its versions.
    pub(super) fn mistake(&self) -> Option<String> {
        if self.files.len() > MOST_FILES {
            return Some(format!("it names more than {MOST_FILES} files"));
        }
        let sorted = self.files.windows(2).all(|pair| pair[0].path < pair[1].path);
        let unfit = self.files.iter().find(|file| !is_plain(&file.path));
        match unfit {
            Some(file) => Some(format!("it names the file `{}`", crate::exec::clip(&file.path))),
            None if !sorted => Some("its files are not in order".to_owned()),
            None if !self.files.iter().any(|file| file.path == DATABASE) => {
                Some("it holds no database".to_owned())
            }
            None => None,
        }
    }
}

/// Whether a path stays within its folder.
fn is_plain(path: &str) -> bool {
    let parts = || Path::new(path).components();
    !path.is_empty()
        && !path.contains('\0')
        && parts().all(|part| matches!(part, Component::Normal(_)))
        && parts().count() <= 16
}

/// What becomes of something in a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// It is needed to come back.
    Keep,
    /// It is of the moment, or made again: locks, sockets, logs, the database, which is copied in a way of its own.
    Leave,
}

/// The rule for a path relative to the state directory.
pub(super) fn rule(path: &str) -> Rule {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    // Beneath `process` folders are called as containers are.
    let is_passing = name.starts_with('.')
        || folder != "process"
            && [".lock", ".log", ".sock", ".draft", ".db", ".db-wal", ".db-shm", ".db-journal"]
                .iter()
                .any(|ending| name.ends_with(ending));
    let is_leaved = match path.split('/').next() {
        Some("locks") => true,
        // Of a native program only what is to run: how it runs now, its lock and its output are of the moment.
        Some("process") => !folder.is_empty() && folder != "process" && name != "spec.json",
        _ => false,
    };
    if is_passing || is_leaved { Rule::Leave } else { Rule::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_to_come_back_is_kept_and_nothing_else() {
        for kept in [
            "seal.key",
            "root-1f.passphrase",
            "edge/zones/mcrun.test.zone",
            "edge/routes.json",
            "process/web/spec.json",
        ] {
            assert_eq!(rule(kept), Rule::Keep, "{kept}");
        }
        for left in [
            "journal.db",
            "journal.db-wal",
            "journal.lock",
            "locks/daemon",
            "daemon.sock",
            "podman-service.log",
            "edge/edge.sock",
            "edge/edge.log",
            "process/web/log.1",
            "process/web/running.json",
            "process/web/lock",
            ".backup/journal.db",
            "seal.12.draft",
        ] {
            assert_eq!(rule(left), Rule::Leave, "{left}");
        }
    }

    #[test]
    fn a_manifest_names_only_files_within_the_state_directory() {
        let file = |path: &str| Kept { path: path.to_owned(), size: 1, mode: 0o600, sha256: String::new() };
        let of = |paths: &[&str]| Manifest::new("rift", 0, paths.iter().map(|path| file(path)).collect());
        assert_eq!(of(&["journal.db", "seal.key"]).mistake(), None);
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a\0b", "./a"] {
            assert!(of(&[bad, "journal.db"]).mistake().is_some(), "{bad:?}");
        }
        assert!(of(&["seal.key", "journal.db"]).mistake().is_some());
        assert!(of(&["journal.db", "journal.db"]).mistake().is_some());
        assert!(of(&["seal.key"]).mistake().is_some());
    }
}
