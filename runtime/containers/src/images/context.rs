//! Owns the context of a build: which files of a folder belong to it, a hash of them, and the archive that an engine
//! takes. No link is followed; what is neither file, folder nor link is refused.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use effect::{Code, Error, Result};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::ignore::{self, Ignore};

const MOST_ENTRIES: usize = 1_000_000;
const DEEPEST: usize = 100;
/// What an engine is given at once.
const PIECE: usize = 64 << 10;

/// A folder that is to be built.
pub(super) struct Folder {
    root: OwnedFd,
    path: PathBuf,
    ignore: Ignore,
    /// The Containerfile, which belongs to the context whatever the rules say.
    file: String,
    limit: u64,
}

/// One thing in it.
struct Entry {
    /// Relative to the folder.
    path: String,
    kind: Kind,
    mode: u32,
    modified: i64,
}

enum Kind {
    Folder,
    File { size: u64 },
    Link { target: PathBuf },
}

impl Folder {
    /// Opens the folder. `file` is its Containerfile; looked for under the usual names unless given.
    pub(super) fn open(path: &Path, file: Option<&str>, limit: u64) -> Result<Self> {
        let wrong = |errno: Errno| {
            let error =
                Error::new(Code::Argument, format!("field `context`: `{}` is not a folder", path.display()));
            error.because(io::Error::from(errno))
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let root = rustix::fs::openat2(CWD, path, flags, Mode::empty(), links).map_err(wrong)?;
        let mut folder =
            Self { root, path: path.to_owned(), ignore: Ignore::default(), file: String::new(), limit };
        folder.file = folder.containerfile(file)?;
        folder.ignore = folder.rules()?;
        Ok(folder)
    }

    /// The Containerfile within the folder.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    fn containerfile(&self, given: Option<&str>) -> Result<String> {
        let candidates = given.map_or_else(|| vec!["Containerfile", "Dockerfile"], |given| vec![given]);
        let is_plain = |name: &str| name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let found = candidates.iter().find(|name| is_plain(name) && self.open_file(name).is_ok());
        found.map(|name| (*name).to_owned()).ok_or_else(|| {
            let names = candidates.join("` or `");
            Error::new(
                Code::Argument,
                format!("field `file`: `{}` has no file `{names}`", self.path.display()),
            )
            .hint("it is a path within the context, without links and `..`")
        })
    }

    fn rules(&self) -> Result<Ignore> {
        for name in ignore::FILES {
            let Ok(file) = self.open_file(name) else { continue };
            let mut text = String::new();
            file.take(ignore::LARGEST).read_to_string(&mut text).map_err(|cause| self.failed(name, cause))?;
            return Ignore::parse(name, &text);
        }
        Ok(Ignore::default())
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let file = File::from(rustix::fs::openat2(&self.root, name, flags, Mode::empty(), links)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
    }

    /// Everything that belongs to it, in an order that does not depend on the file system.
    fn entries(&self) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        let mut total = 0;
        let root = self.root.try_clone().map_err(|cause| self.failed(".", cause))?;
        self.walk(root, "", 0, &mut found, &mut total)?;
        Ok(found)
    }

    fn walk(
        &self,
        folder: OwnedFd,
        prefix: &str,
        depth: usize,
        found: &mut Vec<Entry>,
        total: &mut u64,
    ) -> Result<()> {
        let failed = |errno: Errno| self.failed(prefix, io::Error::from(errno));
        if depth > DEEPEST {
            return Err(Error::new(
                Code::TooLarge,
                format!("`{prefix}` is nested deeper than {DEEPEST} folders"),
            ));
        }
        for name in self.names(&folder, prefix)? {
            let Some(text) = name.to_str() else {
                let message = format!("the name of `{prefix}{}` is not text", name.to_string_lossy());
                return Err(Error::new(Code::FileRefused, message).hint("leave it out with .containerignore"));
            };
            let path = format!("{prefix}{text}");
            let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            let is_ignored = self.ignore.ignores(&path) && path != self.file;
            let leads_to_kept = self.ignore.may_keep_beneath() || self.file.starts_with(&format!("{path}/"));
            if kind == FileType::Directory {
                if !is_ignored {
                    self.add(found, total, entry(&path, Kind::Folder, &stat))?;
                }
                if !is_ignored || leads_to_kept {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let inner = rustix::fs::openat(&folder, &name, flags, Mode::empty()).map_err(failed)?;
                    self.walk(inner, &format!("{path}/"), depth + 1, found, total)?;
                }
            } else if !is_ignored {
                let kind = match kind {
                    FileType::RegularFile => {
                        Kind::File { size: u64::try_from(stat.st_size).unwrap_or_default() }
                    }
                    FileType::Symlink => {
                        let target = rustix::fs::readlinkat(&folder, &name, Vec::new()).map_err(failed)?;
                        Kind::Link { target: PathBuf::from(std::ffi::OsStr::from_bytes(target.to_bytes())) }
                    }
                    _ => {
                        let message = format!("`{path}` of the context is neither file, folder nor link");
                        return Err(
                            Error::new(Code::FileRefused, message).hint("leave it out with .containerignore")
                        );
                    }
                };
                self.add(found, total, entry(&path, kind, &stat))?;
            }
        }
        Ok(())
    }

    fn names(&self, folder: impl AsFd, prefix: &str) -> Result<Vec<OsString>> {
        let failed = |errno: Errno| self.failed(prefix, io::Error::from(errno));
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
            if names.len() > MOST_ENTRIES {
                return Err(self.too_large(format!("more than {MOST_ENTRIES} files")));
            }
        }
        names.sort();
        Ok(names)
    }

    fn add(&self, found: &mut Vec<Entry>, total: &mut u64, entry: Entry) -> Result<()> {
        if let Kind::File { size } = entry.kind {
            *total = total.saturating_add(size);
        }
        found.push(entry);
        if found.len() > MOST_ENTRIES {
            return Err(self.too_large(format!("more than {MOST_ENTRIES} files")));
        }
        if *total > self.limit {
            return Err(self.too_large(format!("more than {}", effect::units::Size(self.limit))));
        }
        Ok(())
    }

    /// A hash of what belongs to it: names, kinds, permissions, content; not times and owners.
    pub(super) fn hash(&self) -> Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        for entry in self.entries()? {
            let mut part = |bytes: &[u8]| {
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            };
            part(entry.path.as_bytes());
            part(&entry.mode.to_le_bytes());
            match &entry.kind {
                Kind::Folder => part(b"folder"),
                Kind::Link { target } => {
                    part(b"link");
                    part(target.as_os_str().as_bytes());
                }
                Kind::File { .. } => {
                    part(b"file");
                    part(self.content_hash(&entry.path)?.as_bytes());
                }
            }
        }
        Ok(hasher.finalize())
    }

    fn content_hash(&self, path: &str) -> Result<blake3::Hash> {
        let file = self.open_file(path).map_err(|cause| self.failed(path, cause))?;
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut file.take(self.limit), &mut hasher).map_err(|cause| self.failed(path, cause))?;
        Ok(hasher.finalize())
    }

    /// Writes it as an archive, piece by piece, until the other side has enough.
    pub(super) fn write(&self, pieces: mpsc::Sender<io::Result<Bytes>>) {
        let written = self.entries().map_err(io::Error::other).and_then(|entries| {
            let mut archive = tar::Builder::new(BufWriter::with_capacity(PIECE, Pieces(pieces.clone())));
            for entry in &entries {
                self.append(&mut archive, entry)?;
            }
            archive.into_inner()?.flush()
        });
        if let Err(cause) = written {
            // Nobody is told where nobody listens any more.
            let _ = pieces.blocking_send(Err(cause));
        }
    }

    fn append(&self, archive: &mut tar::Builder<impl Write>, entry: &Entry) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_mtime(u64::try_from(entry.modified).unwrap_or_default());
        match &entry.kind {
            Kind::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                archive.append_data(&mut header, &entry.path, io::empty())
            }
            Kind::Link { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                archive.append_link(&mut header, &entry.path, target)
            }
            Kind::File { size } => {
                let file = self.open_file(&entry.path)?;
                if file.metadata()?.len() != *size {
                    return Err(io::Error::other(format!("`{}` changed meanwhile", entry.path)));
                }
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(*size);
                archive.append_data(&mut header, &entry.path, file.take(*size))
            }
        }
    }

    fn failed(&self, path: &str, cause: impl std::fmt::Display) -> Error {
        let message = format!("`{}` of the context cannot be read", self.path.join(path).display());
        Error::new(Code::FileFailed, message).because(cause)
    }

    fn too_large(&self, what: String) -> Error {
        Error::new(Code::TooLarge, format!("the context `{}` has {what}", self.path.display()))
            .hint("leave out with .containerignore what the build does not need, or raise `context_limit`")
    }
}

fn entry(path: &str, kind: Kind, stat: &Stat) -> Entry {
    Entry { path: path.to_owned(), kind, mode: stat.st_mode & 0o777, modified: stat.st_mtime }
}

/// The writing end of a channel.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(data)));
        sent.map(|()| data.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends a file piece by piece, from its beginning.
pub(super) fn send_file(file: File, pieces: mpsc::Sender<io::Result<Bytes>>) {
    use std::os::unix::fs::FileExt as _;
    let mut at = 0;
    loop {
        let mut piece = vec![0; PIECE];
        let read = file.read_at(&mut piece, at);
        let (piece, is_last) = match read {
            Ok(0) => return,
            Ok(length) => {
                piece.truncate(length);
                at += length as u64;
                (Ok(Bytes::from(piece)), false)
            }
            Err(cause) => (Err(cause), true),
        };
        if pieces.blocking_send(piece).is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
