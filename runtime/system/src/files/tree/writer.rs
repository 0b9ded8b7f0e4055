//! Owns how a tree is brought into a wanted state: each file appears whole, and what a kill left behind is taken up again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use effect::{Code, Error, Result, Sealer};
use rustix::fs::{AtFlags, Gid, Mode as RawMode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;

use super::super::object::Kind;
use super::super::owner::Owner;
use super::{Difference, Entry, Folder, Listing};

/// Brings one folder's tree into its wanted state.
pub(in super::super) struct Writer<'a> {
    folder: Folder,
    wanted: &'a Listing,
    found: &'a Listing,
    difference: &'a Difference,
    owner: Option<Owner>,
    sealer: &'a Sealer,
    temporary: String,
    /// Modes of folders, set last: a folder may not be writable once it has its own.
    folders: BTreeMap<String, u32>,
}

impl<'a> Writer<'a> {
    /// Removes what shall go and makes the folders.
    pub(in super::super) fn begin(
        folder: Folder,
        (wanted, found, difference): (&'a Listing, &'a Listing, &'a Difference),
        owner: Option<Owner>,
        sealer: &'a Sealer,
        token: &str,
    ) -> Result<Self> {
        let temporary = format!(".{token}.mcrun");
        let mut writer =
            Self { folder, wanted, found, difference, owner, sealer, temporary, folders: BTreeMap::new() };
        for name in difference.removed.iter().rev() {
            writer.remove(name)?;
        }
        for name in difference.added.iter().chain(&difference.changed) {
            if let Some(entry) = wanted.get(name).filter(|entry| entry.kind == Kind::Directory) {
                writer.make_folder(name, entry)?;
            }
        }
        Ok(writer)
    }

    /// Whether the content of `name` has to be written.
    pub(in super::super) fn takes(&self, name: &str) -> bool {
        let is_new = self.difference.added.binary_search_by(|known| known.as_str().cmp(name)).is_ok();
        let is_changed =
            || self.difference.changed.binary_search_by(|known| known.as_str().cmp(name)).is_ok();
        let wanted = self.wanted.get(name);
        let has_content = wanted.is_some_and(|entry| entry.kind == Kind::File);
        has_content
            && (is_new
                || (is_changed() && self.old(name).map(|old| &old.hash) != wanted.map(|new| &new.hash)))
    }

    /// The names of the files whose content has to be written.
    pub(in super::super) fn files(&self) -> impl Iterator<Item = &'a String> {
        let (added, changed) = (&self.difference.added, &self.difference.changed);
        let taken: Vec<&'a String> = added.iter().chain(changed).filter(|name| self.takes(name)).collect();
        taken.into_iter()
    }

    fn old(&self, name: &str) -> Option<&'a Entry> {
        self.found.get(name).filter(|old| self.wanted.get(name).is_some_and(|new| new.kind == old.kind))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let is_folder = self.found.get(name).is_some_and(|entry| entry.kind == Kind::Directory);
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let (above, last) = match self.folder.above(name) {
            Ok(place) => place,
            // Its folder is gone already.
            Err(_) if self.folder.look(name)?.is_none() => return Ok(()),
            Err(error) => return Err(error),
        };
        match rustix::fs::unlinkat(above, last, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.folder.failed("remove", name, errno)),
        }
    }

    fn make_folder(&mut self, name: &str, entry: &Entry) -> Result<()> {
        let (above, last) = self.folder.above(name)?;
        match rustix::fs::mkdirat(above, last, RawMode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.folder.failed("make", name, errno)),
        }
        let mode = entry.mode.or_else(|| self.old(name)?.mode).unwrap_or_else(|| entry.new_mode());
        self.folders.insert(name.to_owned(), mode);
        Ok(())
    }

    /// Writes one file from `content`, which must be what was announced.
    pub(in super::super) fn file(&self, name: &str, content: &mut dyn Read) -> Result<()> {
        let Some(entry) = self.wanted.get(name) else { return Ok(()) };
        let (above, last) = self.folder.above(name)?;
        let failed = |what: &'static str| move |errno: Errno| self.folder.failed(what, name, errno);
        match rustix::fs::unlinkat(&above, &self.temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed("clear the way for")(errno)),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&above, &self.temporary, flags, RawMode::RUSR | RawMode::WUSR)
            .map_err(failed("create a file beside"))?;
        let filled = self.fill(File::from(fd), name, entry, content).and_then(|()| {
            let replaces = self.old(name).is_some();
            let flags = if replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
            let renamed = match rustix::fs::renameat_with(&above, &self.temporary, &above, last, flags) {
                // Not every file system knows the flag.
                Err(Errno::INVAL) => rustix::fs::renameat(&above, &self.temporary, &above, last),
                renamed => renamed,
            };
            renamed.map_err(failed("write"))
        });
        if filled.is_err() {
            // The rest of a failed attempt must not stay; the failure itself is what is reported.
            let _ = rustix::fs::unlinkat(&above, &self.temporary, AtFlags::empty());
        }
        filled
    }

    /// Makes a link that was there before.
    pub(super) fn link(&self, name: &str, target: &[u8]) -> Result<()> {
        let (above, last) = self.folder.above(name)?;
        match rustix::fs::symlinkat(std::ffi::OsStr::from_bytes(target), above, last) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(self.folder.failed("make", name, errno)),
        }
    }

    fn fill(&self, mut file: File, name: &str, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let failed = |error: std::io::Error| match super::super::archive::refusal(&error) {
            Some(refusal) => refusal,
            None => self.folder.failed("write", name, Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        let mut tagger = self.sealer.tagger();
        let mut buffer = vec![0; 64 * 1024];
        let mut size = 0;
        loop {
            let count = content.read(&mut buffer).map_err(failed)?;
            size += count as u64;
            if count == 0 || size > entry.size {
                break;
            }
            tagger.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(failed)?;
        }
        if size != entry.size || entry.hash.as_deref() != Some(&*tagger.tag()) {
            let message =
                format!("the source of `{}` changed while it was read", self.folder.path_of(name).display());
            return Err(Error::new(Code::FileFailed, message).hint("run again").retryable());
        }
        self.set(&file, name, entry)
            .map_err(|errno| self.folder.failed("change mode or owner of", name, errno))
    }

    /// Gives a new file its owner and mode, those of the old one where nothing else is said.
    fn set(&self, file: &File, name: &str, entry: &Entry) -> std::result::Result<(), Errno> {
        let old = self.old(name);
        let stat = rustix::fs::fstat(file)?;
        let now = Owner { user: stat.st_uid, group: stat.st_gid };
        let own = || Owner::parse(entry.owner.as_ref()?);
        let wanted = self.owner.or_else(own).or_else(|| Owner::parse(old?.owner.as_ref()?));
        if let Some(owner) = wanted.filter(|owner| *owner != now) {
            rustix::fs::fchown(file, Some(Uid::from_raw(owner.user)), Some(Gid::from_raw(owner.group)))?;
        }
        // After the owner: changing that takes special bits away.
        let mode = entry.mode.or_else(|| old?.mode).unwrap_or_else(|| entry.new_mode());
        rustix::fs::fchmod(file, RawMode::from_raw_mode(mode))
    }

    /// Sets what is left: modes and owners of what keeps its content, and of folders, the deepest first. Then everything is
    /// on the disk.
    pub(in super::super) fn finish(self) -> Result<()> {
        for name in &self.difference.changed {
            let Some(entry) = self.wanted.get(name).filter(|entry| entry.kind == Kind::File) else {
                continue;
            };
            if !self.takes(name) {
                let (file, _) = self.folder.read(name)?;
                self.set(&file, name, entry)
                    .map_err(|errno| self.folder.failed("change mode or owner of", name, errno))?;
            }
        }
        for (name, mode) in self.folders.iter().rev() {
            let adjusted = self.folder.at(name, OFlags::RDONLY | OFlags::DIRECTORY).and_then(|fd| {
                let own = || Owner::parse(self.wanted.get(name)?.owner.as_ref()?);
                if let Some(owner) = self.owner.or_else(own) {
                    rustix::fs::fchown(
                        &fd,
                        Some(Uid::from_raw(owner.user)),
                        Some(Gid::from_raw(owner.group)),
                    )?;
                }
                rustix::fs::fchmod(&fd, RawMode::from_raw_mode(*mode))
            });
            adjusted.map_err(|errno| self.folder.failed("change mode or owner of", name, errno))?;
        }
        // One for all: a sync for each of ten thousand files would take minutes.
        rustix::fs::syncfs(&self.folder.fd).map_err(|errno| self.folder.failed("write", "", errno))
    }
}
