//! Owns the folder in which a backup is unpacked before it is put in place, or only looked through. It holds every key of a
//! node: it is gone when its owner is done, and the next owner of one takes away what a kill has left.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use rustix::fs::{FlockOperation, OFlags, flock};
use zeroize::Zeroizing;

use super::failed;

/// Somebody who clears up may take a folder before it is locked; nobody does so again and again.
const TRIES: u32 = 8;

/// A folder that only its owner may look into, gone when it is dropped unless it was moved away.
pub(super) struct Aside {
    folder: PathBuf,
    /// Held for as long as the folder is in use: who holds the lock of another one may take that away.
    _lock: File,
}

impl Aside {
    /// Makes one in `above`, and takes away those with this name that nobody uses any more.
    pub(super) fn new(above: &Path, name: &str) -> Result<Self> {
        clear_up(above, name);
        for _ in 0..TRIES {
            let mut chance = Zeroizing::new([0; 8]);
            rustix::rand::getrandom(&mut *chance, rustix::rand::GetRandomFlags::empty())
                .map_err(|errno| failed("make a folder in", above, &errno.into()))?;
            let folder = above.join(format!("{name}-{:016x}", u64::from_ne_bytes(*chance)));
            DirBuilder::new().mode(0o700).create(&folder).map_err(|error| failed("make", &folder, &error))?;
            if let Some(lock) = take(&folder).map_err(|error| failed("lock", &folder, &error))? {
                return Ok(Self { folder, _lock: lock });
            }
        }
        Err(Error::new(Code::Locked, format!("somebody else takes what is made in `{}`", above.display()))
            .retryable())
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Moved away, it is not there any more.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Takes the lock of a folder; none where somebody has it, or the folder is not there any more.
fn take(folder: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = match rustix::fs::open(folder, flags, rustix::fs::Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    let (locked, there) = (lock.metadata()?, fs::symlink_metadata(folder));
    Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino())).then_some(lock))
}

/// Takes away what was left by those who were killed. What cannot be is left for the next one.
fn clear_up(above: &Path, name: &str) {
    let own = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let is_left = is_named(&entry.file_name(), name)
            && entry.metadata().is_ok_and(|stat| stat.is_dir() && stat.uid() == own);
        let folder = entry.path();
        if is_left && let Ok(Some(_lock)) = take(&folder) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

fn is_named(file: &OsStr, name: &str) -> bool {
    let chance = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('-'));
    chance.is_some_and(|chance| chance.len() == 16 && chance.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_has_left_is_taken_away_and_what_is_in_use_is_not() {
        let above = tempfile::tempdir().unwrap();
        let left = above.path().join("restore-0123456789abcdef");
        let theirs = ["restore-mine", "another-0123456789abcdef"].map(|name| above.path().join(name));
        fs::create_dir_all(left.join("deep")).unwrap();
        theirs.iter().for_each(|folder| fs::create_dir(folder).unwrap());
        let first = Aside::new(above.path(), "restore").unwrap();
        assert!(!left.exists() && theirs.iter().all(|folder| folder.exists()));
        let second = Aside::new(above.path(), "restore").unwrap();
        assert!(first.path().exists() && second.path().exists());
        let gone = [first, second].map(|aside| aside.path().to_owned());
        assert!(gone.iter().all(|folder| !folder.exists()));
    }
}
