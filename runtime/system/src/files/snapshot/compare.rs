//! Owns the comparison of a folder with a snapshot: whether it is exactly what the snapshot holds.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use age::x25519::Identity;
use effect::Result;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};

use super::Bounds;
use super::about::Head;
use super::read::{Item, Next, What, each, torn};
use super::walk::walk;

const BUFFER: usize = 256 * 1024;

/// Whether `folder` is what the snapshot in `file` holds. Ends at the first difference.
pub(super) fn is_same(
    snapshot: &Path,
    file: File,
    key: Option<&Identity>,
    folder: &OwnedFd,
    root: &Path,
    bounds: Bounds,
    begun: &mut dyn FnMut(&Head) -> Result<()>,
) -> Result<bool> {
    let mut comparison = Comparison { snapshot, folder, buffers: (vec![0; BUFFER], vec![0; BUFFER]) };
    let read = each(snapshot, file, key, bounds, begun, &mut |item, content| {
        Ok(if comparison.is_same(item, content)? { Next::GoOn } else { Next::Enough })
    })?;
    let Some((_, end)) = read else { return Ok(false) };
    let mut found = 1;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(again) = rustix::fs::openat(folder.as_fd(), ".", flags, Mode::empty()) else { return Ok(false) };
    walk(again, root, &mut |entry| {
        let kind = FileType::from_raw_mode(entry.stat.st_mode);
        let is_packed = matches!(kind, FileType::Directory | FileType::RegularFile | FileType::Symlink);
        found += u64::from(is_packed);
        Ok(())
    })?;
    Ok(found == end.entries)
}

struct Comparison<'a> {
    snapshot: &'a Path,
    folder: &'a OwnedFd,
    buffers: (Vec<u8>, Vec<u8>),
}

impl Comparison<'_> {
    fn is_same(&mut self, item: &Item, content: &mut dyn Read) -> Result<bool> {
        let Some((fd, stat)) = self.look(&item.path) else { return Ok(false) };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let same_owner = (stat.st_uid, stat.st_gid) == (item.user, item.group);
        let same = same_owner && stat.st_mtime == item.modified;
        let same_mode = stat.st_mode & 0o7777 == item.mode;
        Ok(match &item.what {
            What::Folder => kind == FileType::Directory && same && same_mode,
            What::Symlink(target) => {
                kind == FileType::Symlink
                    && same
                    && rustix::fs::readlinkat(&fd, "", Vec::new())
                        .is_ok_and(|found| found.to_bytes() == target.as_slice())
            }
            What::Hardlink(first) => self
                .look(first)
                .is_some_and(|(_, other)| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino)),
            What::File => {
                let is_alike = kind == FileType::RegularFile && same && same_mode;
                is_alike
                    && u64::try_from(stat.st_size).is_ok_and(|size| size == item.size)
                    && self.same_content(item, content)?
            }
        })
    }

    fn look(&self, path: &[u8]) -> Option<(OwnedFd, Stat)> {
        let fd = self.open(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let stat = rustix::fs::fstat(&fd).ok()?;
        Some((fd, stat))
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Option<OwnedFd> {
        let path = if path.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(path) };
        // A link is looked at as itself, and none is followed on the way.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        let opened = rustix::fs::openat2(self.folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
        opened.ok()
    }

    fn same_content(&mut self, item: &Item, content: &mut dyn Read) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let Some(fd) = self.open(&item.path, flags) else { return Ok(false) };
        let mut file = File::from(fd);
        let (packed, found) = (&mut self.buffers.0, &mut self.buffers.1);
        let mut left = item.size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER);
            let count = content.read(&mut packed[..most]).map_err(|error| torn(self.snapshot, error))?;
            if count == 0 {
                return Err(torn(self.snapshot, "it is cut off within a file"));
            }
            if file.read_exact(&mut found[..count]).is_err() || packed[..count] != found[..count] {
                return Ok(false);
            }
            left -= count as u64;
        }
        Ok(true)
    }
}
