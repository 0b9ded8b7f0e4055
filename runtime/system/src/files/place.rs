//! Owns how a path that a script wrote becomes an opened folder and a name in it: absolute, without `..`, and without a
//! link anywhere on the way.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use effect::{Code, Error, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A path longer than this is refused by the kernel anyway.
const LONGEST: usize = 4096;

/// The absolute path that `text` stands for, relative to `root`. Textual: what it names need not exist.
pub fn resolve(root: &Path, text: &str) -> Result<PathBuf> {
    let refuse =
        |why: &str| Error::new(Code::FileRefused, format!("path `{}` {why}", crate::exec::clip(text)));
    if text.is_empty() || text.contains('\0') || text.len() > LONGEST {
        return Err(refuse("is empty, too long or contains a NUL byte"));
    }
    let mut path = root.to_owned();
    for component in Path::new(text).components() {
        match component {
            Component::RootDir => path = PathBuf::from("/"),
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(refuse("contains `..`").hint("write the path without it, and grant that"));
            }
        }
    }
    if path.file_name().is_none() {
        return Err(refuse("is the root of the file system"));
    }
    Ok(path)
}

/// A name in an opened folder.
pub(super) struct Place {
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
    pub(super) path: PathBuf,
}

impl Place {
    /// Opens the folder that holds `path`; `None` when there is no such folder.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        match Self::try_open(path) {
            Ok(place) => Ok(Some(place)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(explain(path, errno)),
        }
    }

    /// The same, making missing folders on the way.
    pub(super) fn open_making_parents(path: &Path) -> Result<Self> {
        if let Some(place) = Self::open(path)? {
            return Ok(place);
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        let above = Self::open_making_parents(folder)?;
        match rustix::fs::mkdirat(&above.folder, &above.name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("make the folder", folder, errno)),
        }
        Self::try_open(path).map_err(|errno| explain(path, errno))
    }

    fn try_open(path: &Path) -> std::result::Result<Self, Errno> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().unwrap_or(OsStr::new(".")).to_owned();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat2(CWD, parent, flags, Mode::empty(), no_links())?;
        Ok(Self { folder, name, path: path.to_owned() })
    }

    /// Opens what the name stands for; a link is opened as itself only with `PATH | NOFOLLOW`.
    pub(super) fn open_it(&self, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat2(&self.folder, &self.name, flags, Mode::empty(), no_links())
    }

    /// The folder as one that can be synced and listed.
    pub(super) fn readable_folder(&self) -> std::result::Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.folder, ".", flags, Mode::empty())
    }

    pub(super) fn failed(&self, what: &str, errno: Errno) -> Error {
        failed(what, &self.path, errno)
    }
}

fn no_links() -> ResolveFlags {
    ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// A failure of the system, named after what was tried.
pub(super) fn failed(what: &str, path: &Path, errno: Errno) -> Error {
    let error = Error::new(Code::FileFailed, format!("cannot {what} `{}`", path.display()));
    error.because(std::io::Error::from(errno))
}

/// Names the component that is at fault.
fn explain(path: &Path, errno: Errno) -> Error {
    let culprit = match errno {
        Errno::LOOP => first_link(path).map(|link| (link, "is a symbolic link")),
        Errno::NOTDIR => first_file(path).map(|file| (file, "is not a folder")),
        _ => None,
    };
    match culprit {
        Some((component, what)) => refuse_component(path, &component, what),
        None => failed("open", path, errno),
    }
}

/// The refusal of a path because of one of its components.
pub(super) fn refuse_component(path: &Path, component: &Path, what: &str) -> Error {
    let message = format!("path `{}` is refused: `{}` {what}", path.display(), component.display());
    let error = Error::new(Code::FileRefused, message);
    match component.canonicalize() {
        Ok(target) if what.contains("link") => {
            let rest = path.strip_prefix(component).unwrap_or(Path::new(""));
            let resolved = if rest.as_os_str().is_empty() { target } else { target.join(rest) };
            error.hint(format!("use the resolved path `{}`, and grant that", resolved.display()))
        }
        _ => error,
    }
}

fn prefixes(path: &Path) -> Vec<PathBuf> {
    let mut prefixes: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
    prefixes.reverse();
    prefixes
}

fn first_link(path: &Path) -> Option<PathBuf> {
    let is_link = |prefix: &PathBuf| rustix::fs::readlinkat(CWD, prefix, Vec::new()).is_ok();
    prefixes(path).into_iter().find(is_link)
}

fn first_file(path: &Path) -> Option<PathBuf> {
    let is_file = |prefix: &PathBuf| {
        let found = rustix::fs::statat(CWD, prefix, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory
        })
    };
    prefixes(path).into_iter().find(is_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_against_the_scripts_folder() {
        let root = Path::new("/srv/script");
        assert_eq!(resolve(root, "./a//b/").unwrap(), Path::new("/srv/script/a/b"));
        assert_eq!(resolve(root, "/etc/hosts").unwrap(), Path::new("/etc/hosts"));
        for bad in ["", "a/../b", "..", "/", "a\0b"] {
            assert_eq!(resolve(root, bad).unwrap_err().code, Code::FileRefused, "{bad:?}");
        }
    }
}
