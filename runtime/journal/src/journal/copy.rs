//! Owns copies of the database: taken while it is used, and looked into where they lie.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::Journal;
use crate::error::{Error, Result};
use crate::lock::{self, Holder};
use crate::schema;

/// The newest version of the database that this program knows.
pub const DATABASE_VERSION: u32 = schema::VERSION;

/// How long it is waited where somebody holds the database for a moment.
const BETWEEN_STEPS: Duration = Duration::from_millis(10);
const MOST_STEPS: u32 = 3000;

/// What is in a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The version of its tables.
    pub version: u32,
    /// The runs.
    pub runs: u64,
    /// Those of them that are not over.
    pub unfinished: u64,
    /// Their effects.
    pub effects: u64,
    /// Deployed services.
    pub services: u64,
    /// Everything that is recorded outside of runs: services, releases, ports, zones, routes, certificates.
    pub records: u64,
}

impl Journal {
    /// Copies the database as it is at one moment into a file that is not there yet. Others write on meanwhile. Durable on
    /// return.
    pub async fn copy_to(&self, file: &Path) -> Result<()> {
        self.barrier().await?;
        let (database, file) = (self.database().to_owned(), file.to_owned());
        let copied = tokio::task::spawn_blocking(move || copy(&database, &file));
        copied.await.unwrap_or_else(|error| Err(Error::Sqlite(error.to_string())))
    }
}

fn copy(database: &Path, file: &Path) -> Result<()> {
    let source = schema::open_for_reading(database)?;
    let mut target = Connection::open(file)?;
    {
        let backup = Backup::new(&source, &mut target)?;
        let mut steps = 0;
        // All pages in one step: whatever is written meanwhile is not in it, and does not make it begin again.
        while backup.step(-1)? != StepResult::Done {
            steps += 1;
            if steps > MOST_STEPS {
                return Err(Error::Busy);
            }
            std::thread::sleep(BETWEEN_STEPS);
        }
    }
    schema::use_log(&target, file)?;
    target.close().map_err(|(_, error)| error)?;
    let sync = || File::open(file)?.sync_all();
    sync().map_err(|error| Error::unusable(file, &error))
}

/// Looks through a whole copy for damage and counts what is in it.
///
/// # Errors
/// Where it is damaged, of a newer version, or cannot be read.
pub fn inspect(file: &Path) -> Result<Inspected> {
    let connection = open(file)?;
    let version = schema::version(&connection, file)?;
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(Error::Corrupt(found));
    }
    if version == 0 {
        return Err(Error::Corrupt("it has no tables".to_owned()));
    }
    let count = |sql: &str| -> Result<u64> {
        Ok(connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)?)
    };
    let own = own_runs(&connection)?;
    Ok(Inspected {
        version,
        runs: count("SELECT count(*) FROM runs")?,
        unfinished: count(&format!(
            "SELECT count(*) FROM runs WHERE state NOT IN ('done', 'failed', 'cancelled') AND {own}"
        ))?,
        effects: count("SELECT count(*) FROM entries")?,
        services: count("SELECT count(*) FROM records WHERE kind = 'service'")?,
        records: count("SELECT count(*) FROM records")?,
    })
}

/// Lets every run rest that was under way when the copy was taken: what it has done since is not in it, so nobody may go on
/// with it unasked. Tells how many there are. Durable on return.
///
/// # Errors
/// Where the copy cannot be written.
pub fn rest_unfinished(file: &Path) -> Result<u64> {
    let connection = open(file)?;
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    let own = own_runs(&connection)?;
    let rest = format!(
        "UPDATE runs SET state = 'paused' WHERE state IN ('pending', 'running', 'waiting') AND {own}"
    );
    let rested = connection.execute(&rest, [])?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(rested as u64)
}

/// The process that stays with the state directory `folder`, if there is one, without opening or making anything.
#[must_use]
pub fn holder_of_daemon(folder: &Path) -> Option<Holder> {
    lock::holder_of_daemon(&folder.join(lock::FOLDER))
}

/// What tells the runs of this state directory from those that were only taken in to be looked at, which older tables do not
/// know.
fn own_runs(connection: &Connection) -> Result<&'static str> {
    let known = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('runs') WHERE name = 'imported')";
    Ok(if connection.query_row(known, [], |row| row.get(0))? { "imported = 0" } else { "1 = 1" })
}

fn open(file: &Path) -> Result<Connection> {
    Ok(Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_is_whole_however_much_is_written_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("state"), Arc::new(SystemClock)).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (journal, over) = (journal.clone(), over.clone());
            async move {
                let mut told = 0;
                while !over.load(Ordering::Relaxed) {
                    journal.emit("tick", "{}").await.unwrap();
                    told += 1;
                }
                told
            }
        });
        for number in 0..3 {
            let file = folder.path().join(format!("copy-{number}.db"));
            journal.copy_to(&file).await.unwrap();
            let inspected = inspect(&file).unwrap();
            assert_eq!((inspected.version, inspected.runs), (DATABASE_VERSION, 0));
            assert_eq!(rest_unfinished(&file).unwrap(), 0);
            let mode: String =
                open(&file).unwrap().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
        over.store(true, Ordering::Relaxed);
        assert!(writer.await.unwrap() > 0);
    }

    #[test]
    fn what_is_no_database_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("journal.db");
        std::fs::write(
            &file,
            "neither a database nor anything else that is known, and long enough".repeat(40),
        )
        .unwrap();
        assert!(matches!(inspect(&file), Err(Error::Corrupt(_))));
        assert!(inspect(&folder.path().join("none.db")).is_err());
    }
}
