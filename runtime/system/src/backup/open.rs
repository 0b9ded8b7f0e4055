//! Owns how a backup is opened: everything that its manifest promises is there, whole and nothing beside it, or it is refused.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use effect::units::Size;
use effect::{Code, Error, Result};
use journal::DATABASE_VERSION;

use super::manifest::{FILES, FORMAT, Kept, LARGEST, Manifest, NAME};
use super::seal::{self, Ask};
use super::stage::transfer;
use super::{failed, unusable};

/// zstd's own window at the levels that backups have; more is asked for by nobody who means well.
const LARGEST_WINDOW: u32 = 27;

/// Unpacks a backup into an empty folder, checking every sum on the way.
pub(super) fn unpack(file: &Path, ask: Ask<'_>, folder: &Path, stop: &AtomicBool) -> Result<Manifest> {
    let opened = Until { source: seal::open(file, ask)?, stop };
    let mut decoder = zstd::stream::read::Decoder::new(opened).map_err(|error| unusable(file, error))?;
    decoder.window_log_max(LARGEST_WINDOW).map_err(|error| unusable(file, error))?;
    let mut archive = tar::Archive::new(decoder);
    let manifest = unpack_from(file, &mut archive, folder)?;
    // The sum that zstd has made of it all comes behind its end.
    let mut rest = archive.into_inner();
    let left = io::copy(&mut rest.by_ref().take(LARGEST), &mut NoMore).map_err(|error| torn(file, &error))?;
    if left >= LARGEST {
        return Err(unusable(file, "something follows behind its end"));
    }
    Ok(manifest)
}

/// Is read until it shall stop.
struct Until<'a, R> {
    source: R,
    stop: &'a AtomicBool,
}

impl<R: Read> Read for Until<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("it was not read to its end"));
        }
        self.source.read(buffer)
    }
}

/// Behind the end of an archive are zeros alone.
struct NoMore;

impl io::Write for NoMore {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes.iter().all(|byte| *byte == 0) {
            true => Ok(bytes.len()),
            false => Err(io::Error::other("something follows behind its end")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn torn(file: &Path, error: &io::Error) -> Error {
    unusable(file, error).hint("it is cut off or changed: take another backup; nothing was put in place")
}

fn unpack_from<R: Read>(file: &Path, archive: &mut tar::Archive<R>, folder: &Path) -> Result<Manifest> {
    let mut entries = archive.entries().map_err(|error| torn(file, &error))?;
    let first = entries.next().ok_or_else(|| unusable(file, "it is empty"))?;
    let manifest = read_manifest(file, first.map_err(|error| torn(file, &error))?)?;
    has_room(folder, &manifest)?;
    let mut left: BTreeMap<&str, &Kept> =
        manifest.files.iter().map(|kept| (kept.path.as_str(), kept)).collect();
    for entry in entries {
        let mut entry = entry.map_err(|error| torn(file, &error))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let named = path.strip_prefix(FILES).and_then(|path| path.strip_prefix('/'));
        let Some(kept) = named.and_then(|path| left.remove(path)) else {
            return Err(unusable(file, format!("`{}` is not in its manifest", crate::exec::clip(&path))));
        };
        if !entry.header().entry_type().is_file() || entry.size() != kept.size {
            return Err(unusable(file, format!("`{}` is not what its manifest says", kept.path)));
        }
        unpack_one(file, &mut entry, kept, folder)?;
    }
    match left.keys().next() {
        Some(missing) => {
            Err(unusable(file, format!("`{missing}` is missing")).hint("it is cut off: take another backup"))
        }
        None => Ok(manifest),
    }
}

fn read_manifest<R: Read>(file: &Path, entry: tar::Entry<'_, R>) -> Result<Manifest> {
    if &*entry.path_bytes() != NAME.as_bytes() || entry.size() > LARGEST {
        return Err(unusable(file, "it does not begin with a manifest"));
    }
    let mut text = Vec::new();
    entry.take(LARGEST).read_to_end(&mut text).map_err(|error| torn(file, &error))?;
    /// What tells whether the rest is understood.
    #[derive(serde::Deserialize)]
    struct Versions {
        mcrun_backup: u32,
        mcrun: String,
        database: u32,
    }
    let versions: Versions = serde_json::from_slice(&text).map_err(|error| unusable(file, error))?;
    if versions.mcrun_backup > FORMAT || versions.database > DATABASE_VERSION {
        let message = format!("`{}` was taken by a newer mcrun, {}", file.display(), versions.mcrun);
        let cause = format!(
            "it has version {} with a database of version {}, this mcrun knows {FORMAT} and {DATABASE_VERSION}",
            versions.mcrun_backup, versions.database
        );
        return Err(Error::new(Code::StateNewer, message).because(cause).hint("restore it with that mcrun"));
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| unusable(file, error))?;
    match manifest.mistake() {
        Some(mistake) => Err(unusable(file, mistake)),
        None => Ok(manifest),
    }
}

/// Refuses before anything is written what could not be written whole.
fn has_room(folder: &Path, manifest: &Manifest) -> Result<()> {
    let room = rustix::fs::statvfs(folder).map_err(|errno| failed("look at", folder, &errno.into()))?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if manifest.size() <= free {
        return Ok(());
    }
    let message = format!("the backup holds {}, more than there is room for", Size(manifest.size()));
    Err(Error::new(Code::DiskFull, message).because(format!(
        "{} are free at `{}`",
        Size(free),
        folder.display()
    )))
}

fn unpack_one<R: Read>(file: &Path, entry: &mut tar::Entry<'_, R>, kept: &Kept, folder: &Path) -> Result<()> {
    let path = folder.join(&kept.path);
    let above = path.parent().unwrap_or(folder);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(above);
    made.map_err(|error| failed("make", above, &error))?;
    let mode = kept.mode & 0o777;
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
    let mut target = opened.map_err(|error| failed("make", &path, &error))?;
    let mut written = Ok(());
    let sum = transfer(entry, &mut Noting { target: &mut target, failed: &mut written });
    written.map_err(|error| failed("write", &path, &error))?;
    let (size, sha256) = sum.map_err(|error| torn(file, &error))?;
    if size != kept.size || sha256 != kept.sha256 {
        return Err(unusable(file, format!("the sum of `{}` does not fit", kept.path))
            .hint("it was changed or damaged: take another backup; nothing was put in place"));
    }
    Ok(())
}

/// Tells a target that cannot be written from a source that cannot be read.
struct Noting<'a, W> {
    target: &'a mut W,
    failed: &'a mut io::Result<()>,
}

impl<W: io::Write> io::Write for Noting<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.target.write(bytes).map_err(|error| {
            let kind = error.kind();
            *self.failed = Err(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}
