//! Owns how a backup comes back: unpacked and looked through beside the place where it belongs, and put there whole, in one
//! step, or not at all.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use effect::{Code, Error, Result};
use journal::Inspected;

use super::aside::Aside;
use super::failed;
use super::manifest::{DATABASE, Manifest};
use super::open::unpack;
use super::seal::Ask;

/// The key that everything sealed in the database is sealed with.
const KEY: &str = "seal.key";
const KEY_SIZE: u64 = 32;

/// What is in a backup.
#[derive(Debug, Clone)]
pub struct Found {
    /// What it says about itself.
    pub manifest: Manifest,
    /// What its database holds.
    pub inspected: Inspected,
    /// How many authorities of certificates have their passphrase with it.
    pub passphrases: usize,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What was in the backup.
    pub found: Found,
    /// How many runs were under way when it was taken, and rest now.
    pub rested: u64,
}

/// Unpacks a backup in a temporary place, opens what is in it, and takes it all away again, as it does early once `stop` is set.
///
/// # Errors
/// `MC-M020` where it is no backup or damaged, `MC-J004` where it is of a newer mcrun, `MC-J007` where its database is
/// damaged.
pub fn check(file: &Path, ask: Ask<'_>, stop: &AtomicBool) -> Result<Found> {
    let place = Aside::new(&std::env::temp_dir(), "mcrun-restore")?;
    look_through(file, ask, place.path(), stop)
}

/// Puts a backup in place of a state directory that is not there, or empty. Once `stop` is set nothing is put in place.
///
/// # Errors
/// `MC-J003` where a daemon holds it, `MC-J005` where something is in it, and what [`check`] refuses.
pub fn restore(file: &Path, ask: Ask<'_>, state: &Path, stop: &AtomicBool) -> Result<Restored> {
    refuse_taken(state)?;
    let above = state.parent().ok_or_else(|| taken_error(state, "it is the root of the file system"))?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(above);
    made.map_err(|error| failed("make", above, &error))?;
    let name = state.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let place = Aside::new(above, &format!(".{name}.restore"))?;
    let found = look_through(file, ask, place.path(), stop)?;
    let rested = journal::rest_unfinished(&place.path().join(DATABASE))?;
    settle(place.path(), state)?;
    // A folder takes the place of an empty one, and of no other.
    match fs::rename(place.path(), state) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            refuse_taken(state)?;
            return Err(taken_error(state, "somebody put something into it meanwhile"));
        }
        Err(error) => return Err(failed("put the backup in place at", state, &error)),
    }
    let synced = || File::open(above)?.sync_all();
    synced().map_err(|error| failed("sync", above, &error))?;
    Ok(Restored { found, rested })
}

/// Refuses a state directory that is in use or holds anything.
fn refuse_taken(state: &Path) -> Result<()> {
    if let Some(holder) = journal::holder_of_daemon(state) {
        let message = format!("a daemon holds the state directory `{}`", state.display());
        return Err(Error::new(Code::Locked, message)
            .because(holder)
            .hint("stop it first (`systemctl stop mcrun`), and move its state directory away; or restore into another one with `--state`"));
    }
    match fs::read_dir(state).map(|mut entries| entries.next()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(taken_error(state, "something is in it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(taken_error(state, &error.to_string())),
    }
}

fn taken_error(state: &Path, cause: &str) -> Error {
    Error::new(Code::StateUnusable, format!("a backup is not restored into `{}`", state.display()))
        .because(cause)
        .hint("move it away, or name another state directory with `--state`; `--check` tries a backup without one")
}

fn look_through(file: &Path, ask: Ask<'_>, folder: &Path, stop: &AtomicBool) -> Result<Found> {
    let manifest = unpack(file, ask, folder, stop)?;
    let inspected = journal::inspect(&folder.join(DATABASE)).map_err(|error| {
        Error::from(error).detail(format!("it is the database in the backup `{}`", file.display()))
    })?;
    // Opening the database left what a reader needs beside it.
    for beside in ["journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(folder.join(beside));
    }
    match manifest.files.iter().find(|kept| kept.path == KEY) {
        Some(key) if key.size == KEY_SIZE => {}
        _ => return Err(super::unusable(file, "it holds no key to what is sealed in its database")),
    }
    let passphrases = manifest.files.iter().filter(|kept| kept.path.ends_with(".passphrase")).count();
    Ok(Found { manifest, inspected, passphrases })
}

/// Makes it durable, and gives it the owner and mode of the folder that it takes the place of.
fn settle(folder: &Path, state: &Path) -> Result<()> {
    let settled = || -> io::Result<()> {
        if let Ok(there) = fs::metadata(state) {
            if there.uid() != fs::metadata(folder)?.uid() {
                own(folder, there.uid(), there.gid())?;
            }
            fs::set_permissions(folder, Permissions::from_mode(there.permissions().mode() & 0o777))?;
        }
        rustix::fs::syncfs(File::open(folder)?.as_fd())?;
        Ok(())
    };
    settled().map_err(|error| failed("settle", folder, &error))
}

fn own(path: &Path, user: u32, group: u32) -> io::Result<()> {
    lchown(path, Some(user), Some(group))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), user, group)?;
        }
    }
    Ok(())
}
