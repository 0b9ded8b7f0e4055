//! Owns what can go wrong with the journal. Leaves codes, hints and rendering to those who show it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use crate::id::RunId;
use crate::lock::Holder;

/// The result of everything the journal does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with the journal.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The state directory was written by a newer version of this program.
    #[error("the state directory has journal version {found}, this program knows up to {known}")]
    Newer {
        /// The version that the database declares.
        found: u32,
        /// The newest version that this program can use.
        known: u32,
    },
    /// The state directory or a file in it cannot be used.
    #[error("{} cannot be used: {cause}", path.display())]
    Unusable {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// There is no room left on the disk. The group that met it was undone whole; a later attempt may succeed.
    #[error("there is no room left for the journal")]
    Full,
    /// A write or sync failed: what is on the disk is unknown, so this process must not go on.
    #[error("the journal could not be written and is out of use: {0}")]
    Broken(String),
    /// The database file is damaged or is no database.
    #[error("the journal is damaged: {0}")]
    Corrupt(String),
    /// Another process held the database for longer than the busy time-out. A later attempt may succeed.
    #[error("the journal is held by another process")]
    Busy,
    /// A write expected a record to be there, or not to be there.
    #[error("{kind} `{name}` is not in the state that was expected")]
    Conflict {
        /// The record's kind.
        kind: String,
        /// The record's name.
        name: String,
    },
    /// A run or service is held by another holder.
    #[error("{}", locked(what, holder.as_ref()))]
    Locked {
        /// The run or service.
        what: String,
        /// Who holds it, as far as it could be read.
        holder: Option<Holder>,
    },
    /// The lease of a service has passed to another holder.
    #[error("the lease of service {service} has passed to {}", run.as_ref().map_or_else(|| "somebody else".to_owned(), |run| format!("run {run}")))]
    Fenced {
        /// The service.
        service: String,
        /// The run that took it last.
        run: Option<String>,
    },
    /// No run has this id, and none begins with it.
    #[error("there is no run `{given}`")]
    UnknownRun {
        /// What was asked for.
        given: String,
    },
    /// Several runs begin like this.
    #[error("`{given}` could be any of {} or more runs", matches.len())]
    AmbiguousRun {
        /// What was asked for.
        given: String,
        /// Some of the runs that match, newest first.
        matches: Vec<RunId>,
    },
    /// An end of this run could not be committed, so the run cannot act, wait or be done: the end is queued again, or
    /// the run stops and is resumed from what is recorded.
    #[error("an effect of run {run} has ended and could not be recorded: {cause}")]
    EndLost {
        /// The run.
        run: RunId,
        /// What prevented it.
        cause: Box<Error>,
    },
    /// A part of a run that was recorded elsewhere does not fit.
    #[error("{0}")]
    Unfit(String),
    /// Any other refusal of the database.
    #[error("the journal's database refused: {0}")]
    Sqlite(String),
}

impl Error {
    /// The error for a file or directory of the journal's own.
    pub(crate) fn unusable(path: &Path, cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Unusable { path: path.to_owned(), cause: cause.to_string() },
        }
    }

    /// Whether the error concerns one request only, so that the rest of its group can be committed.
    pub(crate) fn is_of_one_request(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. } | Self::Fenced { .. } | Self::UnknownRun { .. } | Self::EndLost { .. }
        )
    }
}

fn locked(what: &str, holder: Option<&Holder>) -> String {
    match holder {
        None => format!("{what} is held by another process"),
        Some(holder) => format!("{holder} holds {what} since {}: {}", holder.since, holder.what),
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        let Some(cause) = error.sqlite_error() else { return Self::Sqlite(text) };
        match cause.code {
            ErrorCode::DiskFull => Self::Full,
            // The shared index is rebuilt from the log at any time: no room for it is no doubt about the log.
            ErrorCode::SystemIoFailure if cause.extended_code == SQLITE_IOERR_SHMSIZE => Self::Full,
            ErrorCode::SystemIoFailure => Self::Broken(text),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(text),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            _ => Self::Sqlite(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn classified(code: i32) -> Error {
        Error::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn a_failed_sync_or_write_breaks_the_journal() {
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC, ffi::SQLITE_IOERR_WRITE] {
            assert!(matches!(classified(code), Error::Broken(_)), "{code}");
        }
    }

    #[test]
    fn a_full_disk_is_recoverable() {
        assert_eq!(classified(ffi::SQLITE_FULL), Error::Full);
        assert_eq!(classified(SQLITE_IOERR_SHMSIZE), Error::Full);
    }

    #[test]
    fn damage_is_told_from_other_refusals() {
        assert!(matches!(classified(ffi::SQLITE_CORRUPT), Error::Corrupt(_)));
        assert!(matches!(classified(ffi::SQLITE_NOTADB), Error::Corrupt(_)));
        assert!(matches!(classified(ffi::SQLITE_BUSY), Error::Busy));
        assert!(matches!(classified(ffi::SQLITE_CONSTRAINT), Error::Sqlite(_)));
    }
}
