//! Power is lost at every sync: whatever was acknowledged is there, nothing is there by half, and the run goes on, whichever
//! part of the unsynced bytes has survived.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use journal::RunId;

use crate::image::{Survives, in_memory, restored};
use crate::recorder::{Disk, Files};
use crate::work::{Held, Work, check};

/// A moment: what the disk knew, and what may be found of it.
struct Moment {
    files: Files,
    allowed: Vec<Held>,
    run: Option<RunId>,
    seed: u64,
}

/// Works with power that is lost at every sync. How many images were checked, and how large the database has become apart
/// from its log.
fn lose_power(seed: u64, steps: usize, large: u64, images: u64) -> (usize, usize) {
    let folder = in_memory();
    let disk = Disk::of(folder.path());
    let mut work = Work::new(seed, large);
    let (moments, checked) = checker(images);
    let known = work.known.clone();
    let run: Arc<Mutex<Option<RunId>>> = Arc::default();
    let (of, mut number) = (run.clone(), 0);
    disk.at_sync(move |files| {
        number += 1;
        let allowed = known.lock().unwrap().allowed().to_vec();
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(number);
        // The receiver goes when an image was not as it must be, which its thread tells.
        let _ = moments.send(Moment { files: files.clone(), allowed, run: *of.lock().unwrap(), seed });
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    work.on_run = Some(run);
    runtime.block_on(work.perform(folder.path(), steps)).unwrap();
    // The last moments are on their way; the sender goes with the look.
    disk.at_sync(|_| ());
    let checked = checked.join().expect("every image is as it must be");
    let database = disk.files().remove(std::ffi::OsStr::new("journal.db")).and_then(|file| file.durable);
    (checked, database.map_or(0, |database| database.len()))
}

fn checker(images: u64) -> (SyncSender<Moment>, std::thread::JoinHandle<usize>) {
    let (sender, receiver) = sync_channel(4);
    (sender, std::thread::spawn(move || check_all(&receiver, images)))
}

fn check_all(moments: &Receiver<Moment>, images: u64) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut checked = 0;
    for Moment { files, allowed, run, seed } in moments {
        let some = (0..images).map(|number| Survives::Some {
            seed: seed + number * 7919,
            chances: [1, 4, 7][number as usize % 3],
        });
        for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(some) {
            let image = restored(&files, survives);
            let fits = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                runtime.block_on(check(image.path(), run, &allowed));
            }));
            assert!(fits.is_ok(), "with {survives:?}");
            checked += 1;
        }
    }
    checked
}

#[test]
fn whatever_survives_of_the_unsynced_bytes_the_acknowledged_is_there() {
    let checked: usize = (1..=12).map(|seed| lose_power(seed, 40, 12, 6).0).sum();
    report("power lost at every sync, any subset of the unsynced sectors survives", checked, "crash images");
    assert!(checked > 2000, "{checked}");
}

#[test]
fn a_checkpoint_that_is_cut_loses_nothing() {
    // Long results, so that the log is folded into the database several times.
    let lost: Vec<_> = (100..=101).map(|seed| lose_power(seed, 220, 120, 1)).collect();
    assert!(lost.iter().all(|(_, folded)| *folded > 1 << 20), "the log was folded: {lost:?}");
    let checked: usize = lost.iter().map(|(checked, _)| checked).sum();
    report("the same with a log that is folded into the database", checked, "crash images");
    assert!(checked > 500, "{checked}");
}

/// Adds a line to the table of `make reliability`, when that asks for it.
pub(crate) fn report(what: &str, count: usize, of: &str) {
    use std::io::Write as _;
    let Some(path) = std::env::var_os("MCRUN_RELIABILITY") else { return };
    let mut table = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    table.write_all(format!("| {what} | {count} {of} | 0 |\n").as_bytes()).unwrap();
}
