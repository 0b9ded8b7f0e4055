//! Owns the locks on runs and services: an flock on a file below `locks/`, which the kernel frees with its holder's
//! process. What the file says is for people; whether it is locked is what counts.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::entry::Fence;
use crate::error::{Error, Result};
use crate::id::RunId;

/// How often a lock is tried: a reader of the holder's name may be in the way for a moment.
const ATTEMPTS: u32 = 3;
/// And where its holder has died: a program that it was about to start holds it until it has begun.
const ATTEMPTS_BEHIND_THE_DEAD: u32 = 1000;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(2);
/// Names longer than this are cut and told apart by their hash: a file name has at most 255 bytes.
const LONGEST_NAME: usize = 160;

/// Who holds a lock: shown as the run, or as the process where there is none or the lock is the run's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The run on whose behalf it holds, if it is one.
    pub run: Option<RunId>,
    /// Whether the lock is the run's own.
    pub executes: bool,
    /// What it holds the lock for.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run {
            Some(run) if !self.executes => write!(f, "run {run}"),
            _ => write!(f, "process {}", self.pid),
        }
    }
}

/// The right to execute a run. Dropping it, or the end of the process, frees it.
#[derive(Debug)]
pub struct RunLock {
    _file: LockFile,
}

/// The right to change a service. Dropping it, or the end of the process, frees it.
#[derive(Debug)]
pub struct Lease {
    _file: LockFile,
    fence: Fence,
}

impl Lease {
    /// The file alone says who is first; the epoch says who was later, should the file have been taken away.
    pub(crate) fn new(file: LockFile, fence: Fence) -> Self {
        Self { _file: file, fence }
    }

    /// What an effect under this lease shows when it begins.
    #[must_use]
    pub fn fence(&self) -> &Fence {
        &self.fence
    }
}

/// Takes the lock on a run.
pub(crate) fn lock_run(folder: &Path, holder: &Holder, run: &RunId) -> Result<RunLock> {
    let file = LockFile::take(folder, &run_file(run), holder, || format!("run {run}"))?;
    Ok(RunLock { _file: file })
}

/// The right to be the one process that stays with a state directory. Dropping it, or the end of the process, frees it.
#[derive(Debug)]
pub struct DaemonLock {
    _file: LockFile,
}

/// Where locks are, beneath the state directory.
pub(crate) const FOLDER: &str = "locks";
/// The lock of the one process that stays.
const DAEMON_FILE: &str = "daemon";

/// Takes the right to be the one process that stays.
pub(crate) fn lock_daemon(folder: &Path, holder: &Holder) -> Result<DaemonLock> {
    let file = LockFile::take(folder, DAEMON_FILE, holder, || "the state directory".to_owned())?;
    Ok(DaemonLock { _file: file })
}

/// Takes the lease of a service.
pub(crate) fn lease(folder: &Path, holder: &Holder, node: &str, service: &str) -> Result<LockFile> {
    LockFile::take(folder, &lease_file(node, service), holder, || format!("service {service}"))
}

/// Who holds a run, if anybody does.
pub(crate) fn holder_of_run(folder: &Path, run: &RunId) -> Option<Holder> {
    holder_of(&folder.join(run_file(run)))
}

/// The one process that stays, if there is one.
pub(crate) fn holder_of_daemon(folder: &Path) -> Option<Holder> {
    holder_of(&folder.join(DAEMON_FILE))
}

/// Who holds the lease of a service, if anybody does.
pub(crate) fn holder_of_lease(folder: &Path, node: &str, service: &str) -> Option<Holder> {
    holder_of(&folder.join(lease_file(node, service)))
}

/// Whether a process that stays may hold the state directory `folder`, for whoever only prepares for that.
#[must_use]
pub fn daemon_may_be_there(folder: &Path) -> bool {
    folder.join(FOLDER).join(DAEMON_FILE).exists()
}

fn holder_of(path: &Path) -> Option<Holder> {
    let mut file = File::open(path).ok()?;
    let holder = read_holder(&mut file)?;
    // A shared lock is refused exactly while somebody holds the exclusive one; ours is gone with `file`.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Some(holder),
        _ => None,
    }
}

#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    _file: File,
}

impl LockFile {
    fn take(folder: &Path, name: &str, holder: &Holder, what: impl Fn() -> String) -> Result<Self> {
        let path = folder.join(name);
        let unusable = |error: io::Error| Error::unusable(&path, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        for attempt in 1.. {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(unusable)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // The last holder may have removed the file between our opening and locking it.
                Ok(()) if !is_still_at(&file, &path) => {}
                Ok(()) => {
                    write_holder(&mut file, holder).map_err(unusable)?;
                    return Ok(Self { path, _file: file });
                }
                Err(Errno::WOULDBLOCK) => {
                    let holder = read_holder(&mut file);
                    let is_gone = holder.as_ref().is_some_and(|holder| !is_alive(holder.pid));
                    if attempt >= if is_gone { ATTEMPTS_BEHIND_THE_DEAD } else { ATTEMPTS } {
                        return Err(Error::Locked { what: what(), holder });
                    }
                    std::thread::sleep(BETWEEN_ATTEMPTS);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(unusable(errno.into())),
            }
        }
        unreachable!("the loop above has no end but its returns")
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Removed while still locked, so that nobody can have taken it over. A file left behind is harmless.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn is_still_at(file: &File, path: &Path) -> bool {
    let same =
        |ours: fs::Metadata, there: fs::Metadata| (ours.dev(), ours.ino()) == (there.dev(), there.ino());
    file.metadata().and_then(|ours| Ok(same(ours, fs::metadata(path)?))).unwrap_or(false)
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec(holder)?)
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn lease_file(node: &str, service: &str) -> String {
    format!("lease-{}-{}", escaped(node), escaped(service))
}

fn run_file(run: &RunId) -> String {
    format!("run-{run}")
}

/// `text` as part of a file name, so that no two texts share one: the dash separates the parts and is escaped too.
fn escaped(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > LONGEST_NAME / 2 {
        let hash = blake3::hash(text.as_bytes()).to_hex();
        name.truncate(LONGEST_NAME / 2 - 34);
        // Two signs in a row come from no escape, so a cut name never equals a whole one.
        name.push_str(&format!("%%{}", &hash[..32]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(what: &str) -> Holder {
        Holder { pid: std::process::id(), run: None, executes: false, what: what.into(), since: Timestamp(7) }
    }

    #[test]
    fn a_second_locker_is_told_who_holds_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunId::new(Timestamp(1_800_000_000_000), 1);
        let held = lock_run(folder.path(), &holder("first"), &run).unwrap();
        let refused = lock_run(folder.path(), &holder("second"), &run).unwrap_err();
        assert_eq!(refused, Error::Locked { what: format!("run {run}"), holder: Some(holder("first")) });
        assert_eq!(holder_of_run(folder.path(), &run), Some(holder("first")));
        drop(held);
        assert_eq!(holder_of_run(folder.path(), &run), None);
        lock_run(folder.path(), &holder("second"), &run).unwrap();
    }

    #[test]
    fn a_lock_that_a_dead_process_held_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunId::new(Timestamp(1_800_000_000_000), 1);
        // No process has such a number.
        let dead = Holder { pid: u32::MAX, ..holder("dead") };
        let held = lock_run(folder.path(), &dead, &run).unwrap();
        let heir = std::thread::spawn(move || {
            std::thread::sleep(BETWEEN_ATTEMPTS * (ATTEMPTS + 10));
            drop(held);
        });
        lock_run(folder.path(), &holder("next"), &run).unwrap();
        heir.join().unwrap();
    }

    #[test]
    fn a_lock_file_that_a_dead_process_left_behind_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunId::new(Timestamp(1_800_000_000_000), 1);
        let stale = serde_json::to_vec(&holder("dead")).unwrap();
        fs::write(folder.path().join(run_file(&run)), stale).unwrap();
        assert_eq!(holder_of_run(folder.path(), &run), None);
        let held = lock_run(folder.path(), &holder("next"), &run).unwrap();
        assert_eq!(holder_of_run(folder.path(), &run), Some(holder("next")));
        drop(held);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn threads_that_race_for_a_lease_hold_it_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let inside = std::sync::atomic::AtomicU32::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut taken = 0;
                    while taken < 50 {
                        let Ok(held) = lease(folder.path(), &holder("race"), "n", "s") else { continue };
                        assert_eq!(inside.fetch_add(1, order), 0);
                        assert_eq!(inside.fetch_sub(1, order), 1);
                        drop(held);
                        taken += 1;
                    }
                });
            }
        });
    }

    #[test]
    fn services_with_awkward_names_have_leases_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(400);
        let longer = "x".repeat(401);
        let names = [("a-b", "c"), ("a", "b-c"), ("a", "../c"), ("a", "ä/ö"), ("a", &long), ("a", &longer)];
        let leases: Vec<_> = names
            .iter()
            .map(|(node, service)| lease(folder.path(), &holder("x"), node, service).unwrap())
            .collect();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), leases.len());
        let refused = lease(folder.path(), &holder("y"), "a", "b-c").unwrap_err();
        let expected = "holds service b-c since 1970-01-01T00:00:00.007Z: x";
        assert_eq!(refused.to_string(), format!("process {} {expected}", std::process::id()));
    }
}
