//! Owns following: how a process that stays learns what others have written to records, without asking for more than
//! that. Every look is one transaction, so that what one commit wrote is seen whole or not at all.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};

use crate::error::{Error, Result};
use crate::reader::records;
use crate::record::Record;
use crate::schema;

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// Nothing was written since.
    Nothing,
    /// Everything: at the first look, and where the database is another one than before.
    All(Vec<Record>),
    /// Each record that was written since, in the order of its last write.
    Some(Vec<Written>),
}

/// A record that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its kind.
    pub kind: String,
    /// Its node.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Its value now; none where it is gone.
    pub value: Option<String>,
}

/// What is followed. Only kinds for which the database notes writes: see the triggers in `schema.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Records of this kind.
    Kind(&'static str),
    /// Records whose kinds begin so.
    Kinds(&'static str),
}

impl Topic {
    fn has(self, kind: &str) -> bool {
        match self {
            Self::Kind(one) => kind == one,
            Self::Kinds(beginning) => kind.starts_with(beginning),
        }
    }
}

/// Follows records of a node.
pub struct Follower {
    path: PathBuf,
    node: String,
    topics: &'static [Topic],
    connection: Connection,
    /// Which file it is: one that was put in its place is read anew.
    file: (u64, u64),
    /// Changes with each commit of another connection.
    version: i64,
    turn: Option<i64>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Follower").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Follower {
    /// Follows the database of a state directory, which must be there. Nothing is written to it.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(folder: &Path, node: &str, topics: &'static [Topic]) -> Result<Self> {
        let path = folder.join("journal.db");
        let connection = schema::open_for_reading(&path)?;
        let file = identity(&path)?;
        Ok(Self { path, node: node.to_owned(), topics, connection, file, version: 0, turn: None })
    }

    /// What was written since the last look. Costs a few microseconds where that is nothing.
    ///
    /// # Errors
    /// Where the database cannot be read; the next look makes up for it.
    pub fn look(&mut self) -> Result<Followed> {
        let file = identity(&self.path)?;
        if file != self.file {
            self.connection = schema::open_for_reading(&self.path)?;
            (self.file, self.version, self.turn) = (file, 0, None);
        }
        let version = self.connection.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        if version == self.version && self.turn.is_some() {
            return Ok(Followed::Nothing);
        }
        let transaction = self.connection.unchecked_transaction()?;
        let last: i64 =
            transaction.query_row("SELECT coalesce(max(turn), 0) FROM followed", [], |row| row.get(0))?;
        let found = match self.turn {
            // The database was put back to an earlier state under the same name.
            Some(turn) if last < turn => Followed::All(all(&transaction, &self.node, self.topics)?),
            Some(turn) if last == turn => Followed::Nothing,
            Some(turn) => match since(&transaction, &self.node, self.topics, turn)? {
                // What was written is for others.
                written if written.is_empty() => Followed::Nothing,
                written => Followed::Some(written),
            },
            None => Followed::All(all(&transaction, &self.node, self.topics)?),
        };
        drop(transaction);
        (self.version, self.turn) = (version, Some(last));
        Ok(found)
    }

    /// Whether a record was ever in this database: one that is gone was taken away, and one that this says nothing of was
    /// lost with another database.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn remembers(&self, kind: &str, name: &str) -> Result<bool> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT 1 FROM followed WHERE kind = ? AND node = ? AND name = ?")?;
        Ok(statement.exists([kind, &self.node, name])?)
    }
}

fn identity(path: &Path) -> Result<(u64, u64)> {
    let found = path.metadata().map_err(|error| Error::unusable(path, &error))?;
    Ok((found.dev(), found.ino()))
}

fn all(connection: &Connection, node: &str, topics: &[Topic]) -> Result<Vec<Record>> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, node, name, value, run, at FROM records
         WHERE kind >= ?1 AND kind < ?2 AND node = ?3 ORDER BY kind, name",
    )?;
    let mut found = Vec::new();
    for topic in topics {
        // Nothing that begins with it comes behind it and the last character there is; nothing but itself comes before
        // it and the first one.
        let (first, behind) = match topic {
            Topic::Kind(kind) => (*kind, format!("{kind}\u{1}")),
            Topic::Kinds(beginning) => (*beginning, format!("{beginning}\u{10FFFF}")),
        };
        let rows = statement.query_map((first, behind, node), records::read)?;
        for row in rows {
            found.push(row?);
        }
    }
    Ok(found)
}

fn since(connection: &Connection, node: &str, topics: &[Topic], turn: i64) -> Result<Vec<Written>> {
    let mut changed = connection
        .prepare_cached("SELECT kind, name FROM followed WHERE turn > ? AND node = ? ORDER BY turn")?;
    let mut value =
        connection.prepare_cached("SELECT value FROM records WHERE kind = ? AND node = ? AND name = ?")?;
    let rows = changed.query_map((turn, node), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut written = Vec::new();
    for row in rows {
        let (kind, name): (String, String) = row?;
        if topics.iter().any(|topic| topic.has(&kind)) {
            let value = value.query_row([&kind, node, &name], |row| row.get(0)).optional()?;
            written.push(Written { kind, node: node.to_owned(), name, value });
        }
    }
    Ok(written)
}
