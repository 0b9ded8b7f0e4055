//! Owns `audit.head`: where the chain ended when this machine last wrote to it, in a file beside the database, so that a
//! chain that was cut at its end is noticed.
//!
//! It is written in place and without a sync, behind the commit: it may lag behind, it is never ahead. Where it does not go
//! together with the database it is left as it is, as evidence.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};
use rustix::fs::OFlags;

use super::{Hash, Head};
use crate::error::Result;

/// A line of 20 digits, a blank and a hash.
const LENGTH: usize = 20 + 1 + 64 + 1;

/// The file of a state directory.
pub(crate) struct HeadFile {
    path: PathBuf,
    file: Option<File>,
}

impl HeadFile {
    /// The file beside the database; it is opened when it is needed.
    pub(crate) fn beside(database: &Path) -> Self {
        Self { path: database.with_file_name("audit.head"), file: None }
    }

    /// What the file says; nothing where it is not there, or says nothing that could be read.
    pub(crate) fn told(&self) -> Option<Head> {
        let text = std::fs::read(&self.path).ok().filter(|text| text.len() == LENGTH)?;
        let (number, hash) = std::str::from_utf8(&text).ok()?.trim_end().split_once(' ')?;
        Some(Head { number: number.parse().ok()?, hash: hash.parse().ok()? })
    }

    /// Has it say where the chain ends now, if what it said before still is in the chain.
    pub(crate) fn advance(&mut self, connection: &Connection, head: Head) {
        if let Err(error) = self.write(connection, head) {
            tracing::warn!(%error, path = %self.path.display(), "the end of the audit is not told beside it");
        }
    }

    fn write(&mut self, connection: &Connection, head: Head) -> Result<()> {
        if let Some(told) = self.told()
            && (told.number > head.number || !is_there(connection, told)?)
        {
            tracing::warn!(path = %self.path.display(), "the audit is not the one that is told of: `mcrun audit --verify`");
            return Ok(());
        }
        let line = format!("{:020} {}\n", head.number, head.hash);
        let write = |file: &mut Option<File>| -> io::Result<()> {
            if file.is_none() {
                let flags = OFlags::NOFOLLOW.bits().cast_signed();
                let mut options = OpenOptions::new();
                options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags);
                *file = Some(options.open(&self.path)?);
            }
            file.as_ref().map_or(Ok(()), |file| file.write_all_at(line.as_bytes(), 0))
        };
        write(&mut self.file).map_err(|error| crate::Error::unusable(&self.path, &error))
    }
}

/// Whether the chain goes through `head`.
fn is_there(connection: &Connection, head: Head) -> Result<bool> {
    if head == Head::NONE {
        return Ok(true);
    }
    let mut statement = connection.prepare_cached("SELECT hash FROM audit WHERE number = ?")?;
    let hash = statement.query_row([head.number], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    Ok(hash.and_then(|hash| hash.as_slice().try_into().ok()).map(Hash) == Some(head.hash))
}
