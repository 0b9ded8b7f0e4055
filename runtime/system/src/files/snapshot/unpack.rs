//! Owns how a snapshot is unpacked into a fresh folder: nothing is made through a link, and everything has the owner, mode and
//! time that it had.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::super::place::failed;
use super::read::{Item, What, torn};

const BUFFER: usize = 256 * 1024;

/// A folder that is being filled.
pub(super) struct Unpacker<'a> {
    folder: OwnedFd,
    /// The snapshot and the folder that it is for, in messages.
    snapshot: &'a Path,
    target: &'a Path,
    /// The folder that something was made in last: what follows mostly lies there as well.
    above: Option<(Vec<u8>, OwnedFd)>,
    /// Folders, whose modes and times come last: until then something is made in them.
    folders: Vec<Item>,
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(folder: OwnedFd, snapshot: &'a Path, target: &'a Path) -> Self {
        Self { folder, snapshot, target, above: None, folders: Vec::new(), buffer: vec![0; BUFFER] }
    }

    /// Makes one thing.
    pub(super) fn add(&mut self, item: &Item, content: &mut dyn Read) -> Result<()> {
        if item.path.is_empty() {
            self.folders.push(item.clone());
            return Ok(());
        }
        let path = self.shown(&item.path);
        let (above, name) = self.above(&item.path)?;
        let name = OsStr::from_bytes(&name).to_owned();
        let made = match &item.what {
            What::Folder => {
                let made = rustix::fs::mkdirat(&above, &name, Mode::RWXU);
                self.folders.push(item.clone());
                made
            }
            What::File => return self.add_file(item, above, &name, content),
            What::Symlink(target) => {
                let target = OsStr::from_bytes(target);
                rustix::fs::symlinkat(target, &above, &name).and_then(|()| {
                    own_at(&above, &name, item)?;
                    rustix::fs::utimensat(&above, &name, &times(item), AtFlags::SYMLINK_NOFOLLOW)
                })
            }
            What::Hardlink(first) => {
                let (there, last) = self.above(first)?;
                rustix::fs::linkat(&there, OsStr::from_bytes(&last), &above, &name, AtFlags::empty())
            }
        };
        made.map_err(|errno| explained(&path, item, errno))
    }

    fn add_file(&mut self, item: &Item, above: OwnedFd, name: &OsStr, content: &mut dyn Read) -> Result<()> {
        let path = self.shown(&item.path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&above, name, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(fd.map_err(|errno| explained(&path, item, errno))?);
        let unwritten =
            |error: io::Error| explained(&path, item, Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let mut left = item.size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = content.read(&mut self.buffer[..most]).map_err(|error| torn(self.snapshot, error))?;
            if count == 0 {
                return Err(torn(self.snapshot, "it is cut off within a file"));
            }
            file.write_all(&self.buffer[..count]).map_err(unwritten)?;
            left -= count as u64;
        }
        settle(&file, item).map_err(|errno| explained(&path, item, errno))
    }

    /// Gives the folders what they had, and makes everything durable.
    pub(super) fn finish(mut self) -> Result<()> {
        // From the deepest up, so that nothing is touched in one that is settled.
        for item in std::mem::take(&mut self.folders).iter().rev() {
            let path = self.shown(&item.path);
            let opened = self.open(&item.path, OFlags::RDONLY | OFlags::DIRECTORY);
            opened.and_then(|fd| settle(&fd, item)).map_err(|errno| explained(&path, item, errno))?;
        }
        rustix::fs::syncfs(&self.folder).map_err(|errno| failed("sync", self.target, errno))
    }

    /// The folder that `path` lies in, opened, and its name there.
    fn above(&mut self, path: &[u8]) -> Result<(OwnedFd, Vec<u8>)> {
        let cut = path.iter().rposition(|byte| *byte == b'/');
        let (folder, name) = cut.map_or((&[][..], path), |cut| (&path[..cut], &path[cut + 1..]));
        let (snapshot, target) = (self.snapshot, self.target);
        let unopened = |errno| match errno {
            Errno::LOOP | Errno::NOENT | Errno::NOTDIR => {
                let message =
                    format!("the snapshot `{}` holds something beneath a link or a file", snapshot.display());
                Error::new(Code::ArchiveRefused, message).detail(String::from_utf8_lossy(path).into_owned())
            }
            errno => failed("open the folder of", &super::walk::shown(target, path), errno),
        };
        match &self.above {
            Some((known, _)) if known == folder => {}
            _ => {
                let fd = self.open(folder, OFlags::PATH | OFlags::DIRECTORY).map_err(unopened)?;
                self.above = Some((folder.to_vec(), fd));
            }
        }
        let known = self.above.as_ref().map(|(_, fd)| rustix::io::fcntl_dupfd_cloexec(fd, 3));
        let fd = known
            .transpose()
            .map_err(unopened)?
            .ok_or_else(|| torn(self.snapshot, "a path has no folder"))?;
        Ok((fd, name.to_vec()))
    }

    fn open(&self, path: &[u8], flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = if path.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(path) };
        rustix::fs::openat2(&self.folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        super::walk::shown(self.target, path)
    }
}

fn explained(path: &Path, item: &Item, errno: Errno) -> Error {
    let error = failed("restore", path, errno);
    match errno {
        Errno::NOSPC | Errno::DQUOT => {
            error.hint("free some space and run again; what was there is as it was")
        }
        Errno::PERM | Errno::ACCESS => error.hint(format!(
            "it belongs to {}:{}: mcrun has to run as root to give it back",
            item.user, item.group
        )),
        Errno::EXIST => error.hint("the snapshot holds it twice"),
        _ => error,
    }
}

fn times(item: &Item) -> Timestamps {
    let modified = Timespec { tv_sec: item.modified, tv_nsec: 0 };
    Timestamps { last_access: modified, last_modification: modified }
}

/// Owner first: changing that takes special bits of the mode away.
fn settle(fd: impl AsFd, item: &Item) -> std::result::Result<(), Errno> {
    let stat = rustix::fs::fstat(&fd)?;
    if (stat.st_uid, stat.st_gid) != (item.user, item.group) {
        rustix::fs::fchown(&fd, Some(Uid::from_raw(item.user)), Some(Gid::from_raw(item.group)))?;
    }
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(item.mode))?;
    rustix::fs::futimens(&fd, &times(item))
}

fn own_at(above: &OwnedFd, name: &OsStr, item: &Item) -> std::result::Result<(), Errno> {
    let stat = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (stat.st_uid, stat.st_gid) == (item.user, item.group) {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(item.user), Gid::from_raw(item.group));
    rustix::fs::chownat(above, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
}
