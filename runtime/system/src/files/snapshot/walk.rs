//! Owns the walk through a folder that is to be packed: sorted, never through a link, never out of it, and with names of any
//! bytes. What vanishes meanwhile is passed over.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::super::place::failed;

/// Deeper trees are refused: each level takes a descriptor.
const DEEPEST: usize = 256;
/// No path in an archive is longer.
const LONGEST: usize = 4096;

/// Something in a folder.
pub(in super::super) struct Found<'a> {
    /// Relative to the folder that is packed; never empty.
    pub(in super::super) path: &'a [u8],
    /// Its name in its own folder, which is open.
    pub(in super::super) name: &'a CStr,
    pub(in super::super) above: BorrowedFd<'a>,
    pub(in super::super) stat: Stat,
}

/// One folder on the way down.
struct Level {
    folder: OwnedFd,
    path: Vec<u8>,
    /// What is left of its names, the last one first.
    names: Vec<CString>,
}

/// Visits everything beneath `folder`, folders before what lies in them. Tells how much vanished on the way.
pub(in super::super) fn walk(
    folder: OwnedFd,
    root: &Path,
    visit: &mut dyn FnMut(&Found<'_>) -> Result<()>,
) -> Result<u64> {
    let mut vanished = 0;
    let mut levels = vec![Level::open(folder, Vec::new(), root)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let mut path = level.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        if path.len() > LONGEST {
            return Err(too_deep(root));
        }
        let stat = match rustix::fs::statat(&level.folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                vanished += 1;
                continue;
            }
            Err(errno) => return Err(failed("look at", &shown(root, &path), errno)),
        };
        visit(&Found { path: &path, name: &name, above: level.folder.as_fd(), stat })?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match rustix::fs::openat(&level.folder, &name, folder_flags(), Mode::empty()) {
                Ok(folder) => levels.push(Level::open(folder, path, root)?),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => vanished += 1,
                Err(errno) => return Err(failed("list", &shown(root, &path), errno)),
            }
            if levels.len() > DEEPEST {
                return Err(too_deep(root));
            }
        }
    }
    Ok(vanished)
}

impl Level {
    fn open(folder: OwnedFd, path: Vec<u8>, root: &Path) -> Result<Self> {
        let unlisted = |errno| failed("list", &shown(root, &path), errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).map_err(unlisted)? {
            let name = entry.map_err(unlisted)?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(Self { folder, path, names })
    }
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// A path for people.
pub(super) fn shown(root: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { root.to_owned() } else { root.join(String::from_utf8_lossy(path).as_ref()) }
}

fn too_deep(root: &Path) -> Error {
    Error::new(Code::TooLarge, format!("`{}` holds folders that lie too deep", root.display()))
}
