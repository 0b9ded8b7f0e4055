//! Owns the database file: its place, permissions, settings and tables.
//!
//! Entries and log lines are keyed by `run number << 32 | place in the run`, so that what belongs to a run lies together,
//! in order, without an index: a history is one walk through a tree. An entry that has begun lies behind the run's
//! completed ones and moves to its place among them when it ends: a durable step mostly costs one page.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};

/// The version of the tables that this program writes: one more than there are migrations.
pub(crate) const VERSION: u32 = 1 + MIGRATIONS.len() as u32;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// More than there are statements, so that each is prepared once.
const STATEMENTS: usize = 64;

const TABLES: &str = "
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    cancel INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER,
    exit_code INTEGER,
    outcome TEXT,
    name TEXT NOT NULL,
    script TEXT NOT NULL,
    root TEXT NOT NULL,
    node TEXT NOT NULL,
    seed INTEGER NOT NULL,
    source BLOB NOT NULL,
    args TEXT NOT NULL,
    params TEXT NOT NULL,
    grants TEXT NOT NULL,
    limits TEXT NOT NULL
) STRICT;
CREATE TABLE sources (
    run INTEGER NOT NULL,
    module TEXT NOT NULL,
    blob BLOB NOT NULL,
    PRIMARY KEY (run, module)
) STRICT, WITHOUT ROWID;
CREATE TABLE blobs (
    hash BLOB NOT NULL PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;
-- The columns that a replay reads come first, so that it skips the pages of the long ones. `changes` counts the changes
-- of the run up to here.
CREATE TABLE entries (
    key INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    counter INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    hash BLOB NOT NULL,
    file TEXT,
    line INTEGER,
    status TEXT NOT NULL,
    blob BLOB,
    result TEXT,
    changed INTEGER NOT NULL DEFAULT 0,
    changes INTEGER NOT NULL DEFAULT 0,
    begun INTEGER,
    ended INTEGER,
    until INTEGER,
    before TEXT,
    change TEXT,
    arguments TEXT NOT NULL
) STRICT;
-- Belongs to no run. Behind the last row SQLite starts a new page and merges it again once the row moves; with this one
-- behind every begun entry, a durable step writes 1.7 pages instead of 2.9.
INSERT INTO entries (key, scope, counter, name, kind, hash, status, arguments)
VALUES (0x7fffffffffffffff, '', 0, '', 'read', x'', 'cancelled', '');
CREATE TABLE logs (
    key INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    scope TEXT NOT NULL,
    number INTEGER NOT NULL,
    level TEXT NOT NULL,
    at INTEGER NOT NULL,
    file TEXT,
    line INTEGER,
    message TEXT NOT NULL,
    fields TEXT,
    UNIQUE (run, scope, number)
) STRICT;
CREATE TABLE records (
    kind TEXT NOT NULL,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    run TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (kind, node, name)
) STRICT, WITHOUT ROWID;
";

/// What brings the tables of version 1 to the version after it, and so on: never changed, only added to. Columns are
/// added, none taken away, so that a process of the older version that has the database open goes on.
const MIGRATIONS: &[&str] = &["
-- The saved plan that a run carries out: its name, and the blob with its steps.
ALTER TABLE runs ADD COLUMN plan TEXT;
ALTER TABLE runs ADD COLUMN planned BLOB;
",
"
-- What lies within a finished checkpoint and is not replayed: completed entries of `scope` and beneath it, beyond the
-- order `opened` up to `last`. Where `whole`, there are no others between.
CREATE TABLE folds (
    run INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    last INTEGER NOT NULL,
    scope TEXT NOT NULL,
    whole INTEGER NOT NULL,
    PRIMARY KEY (run, opened)
) STRICT, WITHOUT ROWID;
-- What runs may wait for. A run sees only what came after it was made: `seen` is the last one before.
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX events_by_name ON events (name, id);
ALTER TABLE runs ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
", "
-- How often each service's lease was taken, and by whom last.
CREATE TABLE leases (
    node TEXT NOT NULL,
    service TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    run TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (node, service)
) STRICT, WITHOUT ROWID;
-- The services of which a run has ever held the lease: a resume takes them again. By the run's id, because a lease may be
-- taken before its run is recorded.
CREATE TABLE held (
    run TEXT NOT NULL,
    node TEXT NOT NULL,
    service TEXT NOT NULL,
    PRIMARY KEY (run, node, service)
) STRICT, WITHOUT ROWID;
", "
-- How often a part of the history was forgotten; what the run came from, as JSON; whether it was recorded elsewhere.
ALTER TABLE runs ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN origin TEXT;
ALTER TABLE runs ADD COLUMN imported INTEGER NOT NULL DEFAULT 0;
", "
-- Runs that were removed and whose rows are on their way.
CREATE TABLE swept (number INTEGER PRIMARY KEY) STRICT;
-- The last run that was removed and had changed something, in its only row.
CREATE TABLE horizon (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL) STRICT;
-- Only results that are long have a blob: other steps do not touch this.
CREATE INDEX entries_by_blob ON entries (blob) WHERE blob IS NOT NULL;
", "
-- Which records of kinds that other processes follow were written last, each once; `turn` goes up with every write. One
-- that is gone stays here. By triggers, so that a process of an older version is followed as well.
CREATE TABLE followed (
    kind TEXT NOT NULL,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    turn INTEGER NOT NULL,
    PRIMARY KEY (kind, node, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX followed_by_turn ON followed (turn);
CREATE TRIGGER followed_made AFTER INSERT ON records WHEN NEW.kind GLOB 'dns*' BEGIN
    INSERT INTO followed VALUES (NEW.kind, NEW.node, NEW.name, (SELECT coalesce(max(turn), 0) + 1 FROM followed))
    ON CONFLICT (kind, node, name) DO UPDATE SET turn = excluded.turn;
END;
CREATE TRIGGER followed_changed AFTER UPDATE ON records WHEN NEW.kind GLOB 'dns*' BEGIN
    INSERT INTO followed VALUES (NEW.kind, NEW.node, NEW.name, (SELECT coalesce(max(turn), 0) + 1 FROM followed))
    ON CONFLICT (kind, node, name) DO UPDATE SET turn = excluded.turn;
END;
CREATE TRIGGER followed_removed AFTER DELETE ON records WHEN OLD.kind GLOB 'dns*' BEGIN
    INSERT INTO followed VALUES (OLD.kind, OLD.node, OLD.name, (SELECT coalesce(max(turn), 0) + 1 FROM followed))
    ON CONFLICT (kind, node, name) DO UPDATE SET turn = excluded.turn;
END;
", "
-- Routes, proofs for certificate authorities and certificates are followed as well.
DROP TRIGGER followed_made;
DROP TRIGGER followed_changed;
DROP TRIGGER followed_removed;
CREATE TRIGGER followed_made AFTER INSERT ON records
WHEN NEW.kind GLOB 'dns*' OR NEW.kind IN ('route', 'route-challenge', 'certificate') BEGIN
    INSERT INTO followed VALUES (NEW.kind, NEW.node, NEW.name, (SELECT coalesce(max(turn), 0) + 1 FROM followed))
    ON CONFLICT (kind, node, name) DO UPDATE SET turn = excluded.turn;
END;
CREATE TRIGGER followed_changed AFTER UPDATE ON records
WHEN NEW.kind GLOB 'dns*' OR NEW.kind IN ('route', 'route-challenge', 'certificate') BEGIN
    INSERT INTO followed VALUES (NEW.kind, NEW.node, NEW.name, (SELECT coalesce(max(turn), 0) + 1 FROM followed))
    ON CONFLICT (kind, node, name) DO UPDATE SET turn = excluded.turn;
END;
CREATE TRIGGER followed_removed AFTER DELETE ON records
WHEN OLD.kind GLOB 'dns*' OR OLD.kind IN ('route', 'route-challenge', 'certificate') BEGIN
    INSERT INTO followed VALUES (OLD.kind, OLD.node, OLD.name, (SELECT coalesce(max(turn), 0) + 1 FROM followed))
    ON CONFLICT (kind, node, name) DO UPDATE SET turn = excluded.turn;
END;
", "
-- The playbook that a run is of, and why it was started, as JSON.
ALTER TABLE runs ADD COLUMN playbook TEXT;
ALTER TABLE runs ADD COLUMN cause TEXT;
-- Only those that are not over: how many there were ever does not count.
CREATE INDEX runs_of_playbooks ON runs (playbook, number)
WHERE playbook IS NOT NULL AND state NOT IN ('done', 'failed', 'cancelled');
", "
-- Whoever follows the ends of runs does not walk through all of them.
CREATE INDEX runs_by_end ON runs (ended, id) WHERE ended IS NOT NULL;
-- How it was last asked to be executed, as JSON, for the next process.
ALTER TABLE runs ADD COLUMN wish TEXT;
", "
-- What was allowed, refused and done. The chain of hashes is what proves it; the triggers only stop mistakes.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    principal TEXT NOT NULL,
    address TEXT,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    outcome TEXT NOT NULL,
    run TEXT,
    details TEXT,
    hash BLOB NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is only appended to');
END;
CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is only appended to');
END;
-- Where the chain ends, in its only row.
CREATE TABLE audit_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
"];

/// The place below which a run's completed entries lie, by their order; above it, begun ones lie by theirs. Two thousand
/// million of either are more than a disk holds.
pub(crate) const LAST_COMPLETED: u32 = u32::MAX / 2;

/// The key of what has `place` in the run with `number`.
pub(crate) fn key(number: i64, place: u32) -> i64 {
    number << 32 | i64::from(place)
}

/// The place in its run of what has `key`.
pub(crate) fn place(key: i64) -> u32 {
    u32::try_from(key & i64::from(u32::MAX)).expect("the mask leaves 32 bits")
}

/// The keys of a run's completed entries beyond the order `after`.
pub(crate) fn completed(number: i64, after: u64) -> RangeInclusive<i64> {
    let after = u32::try_from(after).unwrap_or(LAST_COMPLETED);
    key(number, after) + 1..=key(number, LAST_COMPLETED)
}

/// The keys of a run's begun entries.
pub(crate) fn begun(number: i64) -> RangeInclusive<i64> {
    key(number, LAST_COMPLETED) + 1..=key(number, u32::MAX)
}

/// The keys of a run's log lines beyond the order `after`.
pub(crate) fn logged(number: i64, after: u64) -> RangeInclusive<i64> {
    let after = u32::try_from(after).unwrap_or(u32::MAX - 1);
    key(number, after) + 1..=key(number, u32::MAX)
}

/// Opens the database in `folder` for the writer, making both when they are not there.
pub(crate) fn open(folder: &Path) -> Result<(Connection, PathBuf)> {
    let path = folder.join("journal.db");
    make_folder(folder)?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = connect(&path, flags)?;
    if version(&connection, &path)? != VERSION {
        bring_up(&mut connection, folder, &path)?;
    }
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    Ok((connection, path))
}

/// Opens the database at `path` for work beside an open writer.
pub(crate) fn open_for_maintenance(path: &Path) -> Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    Ok(connection)
}

/// Opens the database at `path` for reading beside an open writer.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags).map_err(|error| reading_failed(error, path))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn make_folder(folder: &Path) -> Result<()> {
    let made: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    let make = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // SQLite syncs the folder that its files are in, and not those above.
        made.iter().filter_map(|made| made.parent()).try_for_each(|above| File::open(above)?.sync_all())
    };
    make().map_err(|error| Error::unusable(folder, &error))
}

/// The version of the tables in the file, 0 when there are none; an error when it is a newer one.
pub(crate) fn version(connection: &Connection, path: &Path) -> Result<u32> {
    let found: u32 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|error| reading_failed(error, path))?;
    if found > VERSION { Err(Error::Newer { found, known: VERSION }) } else { Ok(found) }
}

/// Makes the tables, or brings those of an older version up to this one.
fn bring_up(connection: &mut Connection, folder: &Path, path: &Path) -> Result<()> {
    // Changing to WAL fails at once, without the busy time-out, when another process does the same: take turns.
    let _turn = take_turn(&folder.join("journal.lock"))?;
    let found = version(connection, path)?;
    if found == VERSION {
        return Ok(());
    }
    // By path and before anything is written: closing a descriptor of our own would free SQLite's locks on the file,
    // and the log beside it takes over these permissions.
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(|error| Error::unusable(path, &error))?;
    use_log(connection, path)?;
    let transaction = connection.transaction()?;
    if found == 0 {
        transaction.execute_batch(TABLES)?;
    }
    let done = found.saturating_sub(1) as usize;
    MIGRATIONS[done..].iter().try_for_each(|migration| transaction.execute_batch(migration))?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

/// Asked to its end, beyond the one row: the change is committed behind it, and a sync that fails there must not pass
/// unseen.
pub(crate) fn use_log(connection: &Connection, path: &Path) -> Result<()> {
    let mode: String = connection
        .query_one("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(|error| reading_failed(error, path))?;
    if mode == "wal" {
        return Ok(());
    }
    let cause = format!("a write-ahead log could not be made for it, its mode stays `{mode}`");
    Err(Error::Unusable { path: path.to_owned(), cause })
}

fn take_turn(path: &Path) -> Result<File> {
    let lock = || -> io::Result<File> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    lock().map_err(|error| Error::unusable(path, &error))
}

/// Trouble with the first look into the file says more about the file than about the journal's work.
fn reading_failed(error: rusqlite::Error, path: &Path) -> Error {
    let text = error.to_string();
    match Error::from(error) {
        Error::Sqlite(cause) => Error::Unusable { path: path.to_owned(), cause },
        Error::Broken(_) => Error::Unusable { path: path.to_owned(), cause: text },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_first_version_are_brought_up_with_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let old = Connection::open(folder.path().join("journal.db")).unwrap();
        old.execute_batch(TABLES).unwrap();
        old.execute(
            "INSERT INTO runs (id, state, created, updated, name, script, root, node, seed, source, args, params,
                grants, limits)
             VALUES ('0123456789abc', 'done', 1, 1, 'a', 'a', '/', 'n', 1, x'', '[]', '{}', '{}', '{}')",
            [],
        )
        .unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        for _ in 0..2 {
            let (connection, path) = open(folder.path()).unwrap();
            assert_eq!(version(&connection, &path).unwrap(), VERSION);
            let plan: Option<String> =
                connection.query_row("SELECT plan FROM runs", [], |row| row.get(0)).unwrap();
            assert_eq!(plan, None);
        }
    }
}
