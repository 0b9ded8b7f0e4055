//! Owns whether a disk fills that services or the daemon itself write to. One that is full ends transactions of the journal,
//! and services with it: it is told while there is time to make room.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use effect::Result;
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::Parts;
use super::memory::{Changes, Memory};

/// Disks do not fill within seconds.
const EVERY: Duration = Duration::from_secs(30);
/// A file system of another machine may never answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// By how much less must be in use, in per cent, before a disk counts as free again: it is not told of again and again.
const SLACK: u8 = 5;
const PREFIX: &str = "disk/";

/// When it was last looked.
#[derive(Debug, Default)]
pub(super) struct Watch {
    looked: Option<Instant>,
    /// A look that is not over: a file system may never answer, and no second look is begun beside it.
    pending: Option<JoinHandle<BTreeMap<String, Disk>>>,
}

/// How full a disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Disk {
    /// What of it was looked at.
    path: PathBuf,
    /// In per cent, rounded up: of its blocks or its inodes, whichever are fewer left.
    used: u8,
    /// How many bytes may still be written.
    free: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stood {
    fills: bool,
}

impl Watch {
    pub(super) async fn compare(
        &mut self,
        parts: &Parts<'_>,
        memory: &mut Memory,
        (every, beyond): (Duration, u8),
    ) -> Result<()> {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY.min(every * 6)) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let mut paths = volumes(parts).await?;
        paths.insert(0, parts.state.to_owned());
        let look = self.pending.get_or_insert_with(|| tokio::task::spawn_blocking(move || disks(&paths)));
        let answered = timeout(PATIENCE, look).await;
        if answered.is_ok() {
            self.pending = None;
        }
        let Ok(Ok(disks)) = answered else {
            tracing::warn!("a file system of a volume does not answer");
            return Ok(());
        };
        let mut changes = Changes::default();
        for (device, disk) in &disks {
            let key = format!("{PREFIX}{device}");
            let filled = memory.of::<Stood>(&key).await?.is_some_and(|stood| stood.fills);
            let fills = if filled { disk.used > beyond.saturating_sub(SLACK) } else { disk.used > beyond };
            if fills != filled {
                let event = if fills { "disk.filling" } else { "disk.free" };
                changes.tell(event, json!({ "path": disk.path, "used": disk.used, "free": disk.free }));
            }
            changes.keep(key, &Stood { fills });
        }
        let known: Vec<String> = memory.all().await?.keys().cloned().collect();
        for key in known {
            if key.strip_prefix(PREFIX).is_some_and(|device| !disks.contains_key(device)) {
                changes.forget(key);
            }
        }
        memory.settle(changes).await
    }
}

/// The paths of this machine that recorded containers have as volumes.
async fn volumes(parts: &Parts<'_>) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for record in parts.journal.records("service", Some(parts.node)).await? {
        let value: Value = serde_json::from_str(&record.value).unwrap_or_default();
        for container in value["spec"]["containers"].as_array().into_iter().flatten() {
            let volumes = container["volumes"].as_array().into_iter().flatten();
            let sources = volumes.filter_map(|volume| volume.as_str()?.split(':').next());
            paths.extend(sources.filter(|source| source.starts_with('/')).map(PathBuf::from));
        }
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The disks that `paths` lie on, by device. What is not there is nobody's disk.
fn disks(paths: &[PathBuf]) -> BTreeMap<String, Disk> {
    let mut found = BTreeMap::new();
    for path in paths {
        let Ok(metadata) = std::fs::metadata(path) else { continue };
        let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
        let device = format!("{major}:{minor}");
        if found.contains_key(&device) {
            continue;
        }
        found.extend(look(path).map(|disk| (device, disk)));
    }
    found
}

fn look(path: &Path) -> Option<Disk> {
    let room = statvfs(path).ok()?;
    // What only root may write counts as used, as `df` has it.
    let blocks = share(room.f_blocks.saturating_sub(room.f_bfree), room.f_bavail);
    let inodes =
        if room.f_files == 0 { 0 } else { share(room.f_files.saturating_sub(room.f_ffree), room.f_favail) };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    Some(Disk { path: path.to_owned(), used: blocks.max(inodes), free })
}

/// The share of `used` in what there is, in per cent, rounded up.
fn share(used: u64, free: u64) -> u8 {
    let all = u128::from(used) + u128::from(free);
    if all == 0 {
        return 0;
    }
    u8::try_from((u128::from(used) * 100).div_ceil(all)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_df() {
        assert_eq!((share(0, 10), share(1, 999), share(9, 1), share(1, 0), share(0, 0)), (0, 1, 90, 100, 0));
    }

    #[test]
    fn a_disk_is_looked_at_once_whatever_lies_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_owned(), folder.path().join("missing"), folder.path().to_owned()];
        let found = disks(&paths);
        assert_eq!(found.values().map(|disk| disk.path.as_path()).collect::<Vec<_>>(), [folder.path()]);
    }
}
