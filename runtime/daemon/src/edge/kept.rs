//! Owns what the edge keeps for a start without the database: when it is written, and each zone as a zone file, which any
//! other name server reads as well.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dns::server::{Snapshot, Zone};
use dns::{Name, file};

const ENDING: &str = "zone";
/// What changed is kept this long after, so that a burst of changes is written once.
const SETTLED: Duration = Duration::from_secs(2);
/// Where changes never settle, what they make is kept this long after the first of them.
const LONGEST: Duration = Duration::from_secs(60);

/// Keeps what changed, on a thread of its own: writing much takes longer than a change may take to be answered.
pub(super) struct Keeper {
    changed: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Has `store` called each time that something has changed.
    pub(super) fn start(what: &str, store: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (changed, changes) = mpsc::channel();
        let work = move || {
            while changes.recv().is_ok() {
                let is_over = !settle(&changes);
                store();
                if is_over {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name(format!("{what}-keep")).spawn(work)?;
        Ok(Self { changed: Some(changed), thread: Some(thread) })
    }

    /// Something is not kept yet.
    pub(super) fn changed(&self) {
        // The thread is there as long as this is.
        let _ = self.changed.as_ref().map(|changed| changed.send(()));
    }
}

/// What changed last is kept too.
impl Drop for Keeper {
    fn drop(&mut self) {
        self.changed = None;
        // A panic was reported by the thread itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Waits until nothing changes for a while; false where nobody could change anything any more.
fn settle(changes: &Receiver<()>) -> bool {
    let first = Instant::now();
    while first.elapsed() < LONGEST {
        match changes.recv_timeout(SETTLED) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

fn folder(edge: &Path) -> PathBuf {
    edge.join("zones")
}

/// The name of the file of a zone: what no file name has is written as its number.
fn file_name(zone: &Name) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let text: String = zone
        .to_string()
        .bytes()
        .map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("{text}.{ENDING}")
}

/// Keeps every zone. What cannot be written stays as it was kept before.
pub(super) fn store(edge: &Path, snapshot: &Snapshot) {
    let folder = folder(edge);
    if let Err(error) = fs::create_dir_all(&folder) {
        return tracing::warn!(%error, "no zone can be kept");
    }
    let mut kept = Vec::new();
    for (_, zone) in snapshot.zones() {
        let name = file_name(zone.apex());
        if let Err(error) = replace(&folder.join(&name), &file::write(&zone.soa, &zone.sets())) {
            tracing::warn!(%error, zone = %zone.apex(), "a zone cannot be kept");
        }
        kept.push(name);
    }
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !kept.iter().any(|kept| name.to_str() == Some(kept)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Puts `text` in the place of what the file had, whole. Nobody else may read it.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|before| before == text.as_bytes()) {
        return Ok(());
    }
    // A successor may be at it at the same time.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    // A disk that is full is not kept full by what did not fit.
    write().inspect_err(|_| drop(fs::remove_file(&new)))
}

/// The zones that were kept.
pub(super) fn load(edge: &Path) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for entry in fs::read_dir(folder(edge)).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        match read(&path) {
            Ok(zone) => snapshot.put(zone),
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "a zone that was kept cannot be read")
            }
        }
    }
    snapshot
}

fn read(path: &Path) -> effect::Result<Zone> {
    let broken = |why: &dyn std::fmt::Display| {
        effect::Error::new(effect::Code::DnsZoneFile, format!("`{}` is no zone file of ours", path.display()))
            .because(why)
    };
    let text = fs::read_to_string(path).map_err(|error| broken(&error))?;
    let origin = text.lines().next().and_then(|line| line.strip_prefix("$ORIGIN "));
    let name = Name::absolute(origin.ok_or_else(|| broken(&"it does not begin with $ORIGIN"))?)?;
    let contents = file::read(text.as_bytes(), &name, &path.display().to_string())?;
    let mut zone = Zone::new(contents.soa.ok_or_else(|| broken(&"it has no SOA"))?);
    contents.sets.iter().for_each(|set| zone.put(set));
    Ok(zone)
}
