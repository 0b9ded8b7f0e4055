//! Owns what a disk knows of the files beneath one folder: what is durable, what is only written, and which operation is
//! to fail.

use std::collections::BTreeMap;
use std::ffi::{OsString, c_int};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::ffi::{SQLITE_FULL, SQLITE_IOERR_FSYNC, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE};

use crate::vfs::{self, Operation, Verdict, Watcher};

/// A change that may or may not survive.
#[derive(Debug, Clone)]
pub(crate) enum Pending {
    Write { offset: usize, data: Vec<u8> },
    Truncate { size: usize },
}

/// One file.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    /// What survives for certain; nothing as long as it was never synced.
    pub(crate) durable: Option<Vec<u8>>,
    /// What was done since, in order.
    pub(crate) pending: Vec<Pending>,
    /// What it held when it was deleted: a deletion may get lost too.
    pub(crate) deleted: Option<Vec<u8>>,
}

pub(crate) type Files = BTreeMap<OsString, File>;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is no room.
    Full,
    /// Half of it arrives, then there is no room.
    ShortFull,
    /// The device fails.
    Broken,
    /// Half of it arrives, then the device fails.
    ShortBroken,
}

type AtSync = Box<dyn FnMut(&Files) + Send>;

#[derive(Default)]
struct State {
    files: Files,
    operations: usize,
    /// The operation that fails, and how.
    fault: Option<(usize, Trouble)>,
    /// Files whose sync has failed, and whether they were synced again.
    failed_syncs: BTreeMap<OsString, bool>,
    struck: bool,
    at_sync: Option<AtSync>,
}

/// The disk beneath one folder.
#[derive(Default)]
pub(crate) struct Disk(Mutex<State>);

static DISKS: Mutex<Vec<(PathBuf, Arc<Disk>)>> = Mutex::new(Vec::new());

impl Disk {
    /// The disk of what is opened in `folder` from now on.
    pub(crate) fn of(folder: &Path) -> Arc<Self> {
        let disk = Arc::new(Self::default());
        DISKS.lock().unwrap().push((folder.to_owned(), disk.clone()));
        vfs::watch(Box::new(Router));
        disk
    }

    /// Calls `look` before every sync: the moment at which the most is written and not durable.
    pub(crate) fn at_sync(&self, look: impl FnMut(&Files) + Send + 'static) {
        self.state().at_sync = Some(Box::new(look));
    }

    /// Has the operation with this number fail, counted from 1 and from the beginning.
    pub(crate) fn fail(&self, operation: usize, trouble: Trouble) {
        self.state().fault = Some((operation, trouble));
    }

    pub(crate) fn operations(&self) -> usize {
        self.state().operations
    }

    /// Whether the fault has struck.
    pub(crate) fn struck(&self) -> bool {
        self.state().struck
    }

    /// Whether anything was synced again after its sync had failed: the kernel may have dropped what was dirty.
    pub(crate) fn retried_a_sync(&self) -> bool {
        self.state().failed_syncs.values().any(|again| *again)
    }

    pub(crate) fn files(&self) -> Files {
        self.state().files.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Router;

impl Router {
    fn disk(path: &Path) -> Option<(Arc<Disk>, OsString)> {
        let folder = path.parent()?;
        let disks = DISKS.lock().unwrap();
        let (_, disk) = disks.iter().find(|(beneath, _)| beneath == folder)?;
        Some((disk.clone(), path.file_name()?.to_owned()))
    }
}

impl Watcher for Router {
    fn before(&self, path: &Path, operation: Operation<'_>) -> Verdict {
        let Some((disk, name)) = Self::disk(path) else { return Verdict::Go };
        let mut state = disk.state();
        state.operations += 1;
        if matches!(operation, Operation::Sync) {
            if let Some(again) = state.failed_syncs.get_mut(&name) {
                *again = true;
            }
            if let Some(mut look) = state.at_sync.take() {
                look(&state.files);
                state.at_sync = Some(look);
            }
        }
        match state.fault {
            Some((number, trouble)) if number == state.operations => {
                state.struck = true;
                if matches!(operation, Operation::Sync) {
                    state.failed_syncs.insert(name, false);
                }
                verdict(trouble, operation)
            }
            _ => Verdict::Go,
        }
    }

    fn after(&self, path: &Path, operation: Operation<'_>) {
        let Some((disk, name)) = Self::disk(path) else { return };
        let mut state = disk.state();
        let is_log =
            name.as_encoded_bytes().ends_with(b"-wal") || name.as_encoded_bytes().ends_with(b"-journal");
        let file = state.files.entry(name).or_default();
        match operation {
            Operation::Write { offset, data } => {
                let offset = usize::try_from(offset).unwrap();
                file.pending.push(Pending::Write { offset, data: data.to_vec() });
            }
            Operation::Truncate { size } => {
                file.pending.push(Pending::Truncate { size: usize::try_from(size).unwrap() });
            }
            Operation::Sync => {
                let is_first = file.durable.is_none();
                let mut durable = file.durable.take().unwrap_or_default();
                for pending in file.pending.drain(..) {
                    pending.apply(&mut durable);
                }
                file.durable = Some(durable);
                // SQLite syncs the folder together with a log that it has made.
                if is_first && is_log {
                    state.files.values_mut().for_each(|file| file.deleted = None);
                }
            }
            Operation::Delete { synced } => {
                let deleted = file.durable.take().filter(|_| !synced);
                *file = File { deleted, ..File::default() };
            }
        }
    }
}

impl Pending {
    pub(crate) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(data);
            }
            Self::Truncate { size } => content.resize(*size, 0),
        }
    }
}

fn verdict(trouble: Trouble, operation: Operation<'_>) -> Verdict {
    let broken = match operation {
        Operation::Sync => SQLITE_IOERR_FSYNC,
        Operation::Truncate { .. } => SQLITE_IOERR_TRUNCATE,
        Operation::Write { .. } | Operation::Delete { .. } => SQLITE_IOERR_WRITE,
    };
    let short = |code: c_int| match operation {
        Operation::Write { data, .. } => Verdict::Short(data.len() / 2, code),
        _ => Verdict::Fail(code),
    };
    // A sync that fails is never a matter of room that could be waited for.
    let full = if matches!(operation, Operation::Write { .. }) { SQLITE_FULL } else { broken };
    match trouble {
        Trouble::Full => Verdict::Fail(full),
        Trouble::ShortFull => short(full),
        Trouble::Broken => Verdict::Fail(broken),
        Trouble::ShortBroken => short(broken),
    }
}
