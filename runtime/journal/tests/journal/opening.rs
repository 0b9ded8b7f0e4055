//! What opening a state directory makes, keeps and refuses.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Barrier};

use journal::{Error, Filter, Journal, SystemClock};
use rusqlite::Connection;

use crate::support::{add_run, open};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn try_open(folder: &Path) -> Result<Journal, Error> {
    Journal::open(folder, Arc::new(SystemClock))
}

#[tokio::test]
async fn nobody_else_may_read_the_journal() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a/b");
    let journal = open(&folder);
    let id = add_run(&journal).await;
    let _lock = journal.lock_run(&id).unwrap();
    assert_eq!(mode(&folder), 0o700);
    for file in ["journal.db", "journal.db-wal", "journal.db-shm", "journal.lock"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&folder.join("locks")), 0o700);
    assert_eq!(mode(&folder.join(format!("locks/run-{id}"))), 0o600);
}

#[tokio::test]
async fn a_newer_journal_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let database = Connection::open(folder.path().join("journal.db")).unwrap();
    database.pragma_update(None, "user_version", 9999).unwrap();
    drop(database);
    let before = std::fs::read(folder.path().join("journal.db")).unwrap();
    assert!(matches!(try_open(folder.path()), Err(Error::Newer { found: 9999, .. })));
    assert_eq!(std::fs::read(folder.path().join("journal.db")).unwrap(), before);
}

#[test]
fn what_is_no_database_is_refused_as_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("journal.db"), "no database, just a text of some length\n".repeat(200))
        .unwrap();
    assert!(matches!(try_open(folder.path()), Err(Error::Corrupt(_))));
}

#[test]
fn a_state_directory_that_is_a_file_is_unusable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let Err(Error::Unusable { path, .. }) = try_open(&file) else { panic!("it was opened") };
    assert_eq!(path, file);
    std::fs::create_dir(folder.path().join("journal.db")).unwrap();
    assert!(matches!(try_open(folder.path()), Err(Error::Unusable { .. })));
}

#[test]
fn processes_that_open_a_fresh_directory_at_once_all_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        let openers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    try_open(folder.path()).map(drop)
                })
            })
            .collect();
        for opener in openers {
            opener.join().unwrap().unwrap();
        }
    });
}

#[tokio::test]
async fn a_closed_journal_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let id = add_run(&journal).await;
    assert_eq!(journal.runs(Filter::default()).await.unwrap().len(), 1);
    drop(journal);
    assert_eq!(open(folder.path()).run(id.as_str()).await.unwrap().id, id);
}
