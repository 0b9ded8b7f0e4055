//! A write or sync fails, whichever it is: the error says what it is, what was acknowledged is there, a failed sync is never
//! tried again, and the run goes on once the disk is well.

use journal::{Error, Journal, RunId, RunState};

use crate::image::{Survives, in_memory, restored};
use crate::power::report;
use crate::recorder::{Disk, Trouble};
use crate::support::begin;
use crate::work::{Work, check};

const STEPS: usize = 24;

/// Works on a disk on which one operation fails.
fn work(seed: u64, fault: Option<(usize, Trouble)>) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = in_memory();
    let disk = Disk::of(folder.path());
    if let Some((operation, trouble)) = fault {
        disk.fail(operation, trouble);
    }
    let mut work = Work::new(seed, 12);
    let ended = runtime.block_on(work.perform(folder.path(), STEPS));
    if let (Err(error), Some(journal), Some(run)) = (&ended, work.journal.take(), work.run) {
        runtime.block_on(check_afterwards(&journal, &run, error));
    }
    work.journal = None;
    let Some((_, trouble)) = fault else {
        ended.unwrap();
        return disk.operations();
    };
    assert!(disk.struck(), "the operation is made");
    // SQLite takes the making of a new database back by itself, with syncs of its own; it is not opened then.
    let not_opened = matches!(ended, Err(Error::Unusable { .. }));
    assert!(not_opened || !disk.retried_a_sync(), "a failed sync is tried again: {fault:?}, {ended:?}");
    check_error(trouble, &ended);
    let mut known = work.known.lock().unwrap().clone();
    known.may_pause();
    // What the kernel still has is one end of what a later process may find, what is durable is the other.
    runtime.block_on(check(restored(&disk.files(), Survives::Nothing).path(), work.run, known.allowed()));
    runtime.block_on(check(folder.path(), work.run, known.allowed()));
    1
}

/// A journal that could not write or sync refuses everything from then on; one that had no room goes on.
async fn check_afterwards(journal: &Journal, run: &RunId, error: &Error) {
    if matches!(error, Error::Broken(_)) {
        assert!(journal.broken());
        assert_eq!(&journal.barrier().await.unwrap_err(), error);
        assert_eq!(&journal.begin(run, begin(1000)).await.unwrap_err(), error);
        return;
    }
    assert!(!journal.broken());
    match journal.set_state(run, RunState::Paused, None, None).await {
        Ok(()) | Err(Error::UnknownRun { .. }) => {}
        Err(other) => panic!("{other:?} after {error:?}"),
    }
}

fn check_error(trouble: Trouble, ended: &Result<(), Error>) {
    let full = |error: &Error| match error {
        Error::Full => true,
        Error::EndLost { cause, .. } => **cause == Error::Full,
        _ => false,
    };
    match ended {
        // The close of the log or a checkpoint between two commits: nothing that anybody waited for.
        Ok(()) => {}
        Err(Error::Broken(_) | Error::Unusable { .. }) => {}
        Err(error) => {
            assert!(matches!(trouble, Trouble::Full | Trouble::ShortFull) && full(error), "{error:?}")
        }
    }
}

#[test]
fn whichever_write_or_sync_fails_nothing_acknowledged_is_lost() {
    let mut failed = 0;
    for (seed, trouble) in
        [(1, Trouble::Full), (2, Trouble::ShortFull), (3, Trouble::Broken), (4, Trouble::ShortBroken)]
    {
        let operations = work(seed, None);
        failed += (1..=operations).map(|operation| work(seed, Some((operation, trouble)))).sum::<usize>();
    }
    report("ENOSPC, EIO and short writes at every write and sync of the database", failed, "faults");
    assert!(failed > 300, "{failed}");
}
