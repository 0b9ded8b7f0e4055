//! Owns how a folder takes the place of another in one step. The new one is filled in a working folder beside the target;
//! once it is whole and durable, a note there says which one it is, so that whoever goes on after a kill knows which of the
//! two is the old one. Nothing of the old one is ever removed: it moves to a name of its own.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::super::place::Place;
use super::super::store::{self, sync_folder};

const NEW: &str = "new";
const NOTE: &str = "note";
/// A note is a line of JSON.
const LONGEST_NOTE: u64 = 4096;
/// So many folders are kept of one second at most.
const MOST_KEPT: u32 = 1000;

/// What tells the new folder from the old one.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    device: u64,
    inode: u64,
    /// The name that the old one gets, beside the target.
    kept: String,
}

/// An exchange that is under way.
pub(super) struct Exchange {
    /// The target.
    place: Place,
    /// The name of the working folder, beside it.
    work_name: String,
    work: OwnedFd,
}

impl Exchange {
    /// Whether an exchange with this token was begun and did not come to its end.
    pub(super) fn is_begun(path: &Path, token: &str) -> Result<bool> {
        let Some(place) = Place::open(path)? else { return Ok(false) };
        let name = work_name(&place, token);
        Ok(rustix::fs::statat(&place.folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    /// Begins it, or goes on with it.
    pub(super) fn begin(path: &Path, token: &str) -> Result<Self> {
        let place = store::place(path, false)?;
        let work_name = work_name(&place, token);
        match rustix::fs::mkdirat(&place.folder, &work_name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(place.failed("make a folder beside", errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let work = rustix::fs::openat(&place.folder, &work_name, flags, Mode::empty());
        let work = work.map_err(|errno| place.failed("open the folder beside", errno))?;
        Ok(Self { place, work_name, work })
    }

    /// Fills the new folder, puts it in place and tells where the old one lies now, if there was one.
    pub(super) fn carry_out(
        self,
        kept: &str,
        fill: impl FnOnce(OwnedFd) -> Result<()>,
    ) -> Result<Option<PathBuf>> {
        let note = match self.note()? {
            Some(note) => note,
            None => self.prepare(kept, fill)?,
        };
        let is_new = |stat: &Stat| (stat.st_dev, stat.st_ino) == (note.device, note.inode);
        let target = self.look(&self.place.folder, &self.place.name)?;
        if !target.as_ref().is_some_and(is_new) {
            self.put_in_place(target.is_some(), &note)?;
        }
        sync_folder(&self.place)?;
        self.keep_old(&note)?;
        self.finish()?;
        let kept = self.place.path.with_file_name(&note.kept);
        let is_kept = self.look(&self.place.folder, note.kept.as_ref())?.is_some();
        Ok(is_kept.then_some(kept))
    }

    fn prepare(&self, kept: &str, fill: impl FnOnce(OwnedFd) -> Result<()>) -> Result<Note> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |errno: Errno| self.place.failed(&what, errno)
        };
        self.clear(NEW)?;
        rustix::fs::mkdirat(&self.work, NEW, Mode::RWXU).map_err(failed("make a folder beside"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.work, NEW, flags, Mode::empty());
        let new = open().map_err(failed("open the folder beside"))?;
        let stat = rustix::fs::fstat(&new).map_err(failed("look at the folder beside"))?;
        let noted = || {
            fill(new)?;
            let note = Note { device: stat.st_dev, inode: stat.st_ino, kept: self.free_name(kept)? };
            self.write_note(&note)?;
            Ok(note)
        };
        noted().inspect_err(|_: &Error| {
            // What a failed attempt has made must not stay; the failure itself is what is reported.
            let _ = self.clear(NEW).and_then(|()| self.finish());
        })
    }

    /// A name that nothing has yet: two restores within one second keep two folders.
    fn free_name(&self, kept: &str) -> Result<String> {
        let names = (2..=MOST_KEPT).map(|number| format!("{kept}-{number}"));
        for name in std::iter::once(kept.to_owned()).chain(names) {
            if self.look(&self.place.folder, name.as_ref())?.is_none() {
                return Ok(name);
            }
        }
        let message = format!("too much is kept of `{}` already", self.place.path.display());
        Err(Error::new(Code::FileFailed, message).hint(format!("remove what is not needed of `{kept}`")))
    }

    fn write_note(&self, note: &Note) -> Result<()> {
        let text = serde_json::to_vec(note)
            .map_err(|error| Error::new(Code::Internal, "a note cannot be encoded").because(error))?;
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let draft = format!("{NOTE}.draft");
            self.remove(&draft)?;
            let fd = rustix::fs::openat(&self.work, &draft, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(fd);
            file.write_all(&text)?;
            file.sync_all()?;
            rustix::fs::renameat(&self.work, &draft, &self.work, NOTE)?;
            Ok(rustix::fs::fsync(&self.work)?)
        };
        write().map_err(|error| self.io_failed("note the restore of", &error))
    }

    fn put_in_place(&self, is_there: bool, note: &Note) -> Result<()> {
        let rename =
            |flags| rustix::fs::renameat_with(&self.work, NEW, &self.place.folder, &self.place.name, flags);
        let renamed = match is_there {
            false => match rename(RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS) => rename(RenameFlags::empty()),
                renamed => renamed,
            },
            true => match rename(RenameFlags::EXCHANGE) {
                // Not every file system can exchange: the old one leaves first. Who goes on after a kill finds the place free.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    let folder = &self.place.folder;
                    rustix::fs::renameat_with(
                        folder,
                        &self.place.name,
                        folder,
                        &note.kept,
                        RenameFlags::empty(),
                    )
                    .and_then(|()| rename(RenameFlags::empty()))
                }
                renamed => renamed,
            },
        };
        renamed.map_err(|errno| {
            let error = self.place.failed("put the restored folder in place of", errno);
            match errno {
                Errno::BUSY | Errno::XDEV => error.hint(
                    "it is a mount point, which nothing can take the place of: restore into a folder within it, or beside it",
                ),
                _ => error,
            }
        })
    }

    /// What the exchange left in the working folder is the old one.
    fn keep_old(&self, note: &Note) -> Result<()> {
        let Some(stat) = self.look(&self.work, NEW.as_ref())? else { return Ok(()) };
        if (stat.st_dev, stat.st_ino) == (note.device, note.inode) {
            return Err(Error::new(Code::Internal, "a restored folder is in two places"));
        }
        rustix::fs::renameat_with(&self.work, NEW, &self.place.folder, &note.kept, RenameFlags::NOREPLACE)
            .map_err(|errno| self.place.failed("keep what was at", errno))?;
        sync_folder(&self.place)
    }

    fn finish(&self) -> Result<()> {
        let finished = || -> io::Result<()> {
            self.remove(NOTE)?;
            self.remove(&format!("{NOTE}.draft"))?;
            Ok(rustix::fs::unlinkat(&self.place.folder, &self.work_name, AtFlags::REMOVEDIR)?)
        };
        finished().map_err(|error| self.io_failed("clear up beside", &error))?;
        sync_folder(&self.place)
    }

    fn note(&self) -> Result<Option<Note>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.work, NOTE, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.place.failed("read the note beside", errno)),
        };
        let mut text = String::new();
        let read = file.take(LONGEST_NOTE).read_to_string(&mut text);
        read.map_err(|error| self.io_failed("read the note beside", &error))?;
        serde_json::from_str(&text).map(Some).map_err(|error| {
            let message =
                format!("a restore of `{}` has left a note that cannot be read", self.place.path.display());
            Error::new(Code::FileFailed, message).because(error)
        })
    }

    fn look(&self, folder: &OwnedFd, name: &std::ffi::OsStr) -> Result<Option<Stat>> {
        match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.place.failed("look at", errno)),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.work, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes a folder away that was filled for this restore, and by nobody else.
    fn clear(&self, name: &str) -> Result<()> {
        // By the opened folder, whatever has taken the place of those above it.
        let path = format!("/proc/self/fd/{}/{name}", self.work.as_raw_fd());
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.io_failed("clear up beside", &error))
            }
            _ => Ok(()),
        }
    }

    fn io_failed(&self, what: &str, error: &io::Error) -> Error {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        let error = self.place.failed(what, errno);
        match errno {
            Errno::NOSPC | Errno::DQUOT => {
                error.hint("free some space and run again; what was there is kept")
            }
            _ => error,
        }
    }
}

fn work_name(place: &Place, token: &str) -> String {
    let name: String = place.name.to_string_lossy().chars().take(50).collect();
    format!(".{name}.{token}.restore")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().canonicalize().unwrap().join("data");
        (folder, target)
    }

    fn fill(new: &OwnedFd, content: &str) -> Result<()> {
        fs::write(format!("/proc/self/fd/{}/a", new.as_raw_fd()), content).unwrap();
        Ok(())
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_old_folder_is_kept_and_nothing_else_is_left() {
        let (folder, target) = folder();
        let put = |content: &str, kept: &str| {
            Exchange::begin(&target, "token").unwrap().carry_out(kept, |new| fill(&new, content)).unwrap()
        };
        assert_eq!(put("one", "data.1"), None);
        assert_eq!(put("two", "data.2"), Some(target.with_file_name("data.2")));
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "two");
        assert_eq!(fs::read_to_string(folder.path().join("data.2/a")).unwrap(), "one");
        assert_eq!(names(folder.path()), ["data", "data.2"]);
    }

    #[test]
    fn two_restores_of_one_second_keep_two_folders() {
        let (folder, target) = folder();
        let put = |content: &str| {
            Exchange::begin(&target, "token").unwrap().carry_out("data.1", |new| fill(&new, content)).unwrap()
        };
        assert_eq!(put("one"), None);
        assert_eq!(put("two"), Some(target.with_file_name("data.1")));
        assert_eq!(put("three"), Some(target.with_file_name("data.1-2")));
        assert_eq!(fs::read_to_string(folder.path().join("data.1-2/a")).unwrap(), "two");
        assert_eq!(names(folder.path()), ["data", "data.1", "data.1-2"]);
    }

    #[test]
    fn a_failure_leaves_everything_as_it_was() {
        let (folder, target) = folder();
        fs::create_dir(&target).unwrap();
        let failed = Exchange::begin(&target, "token").unwrap().carry_out("data.1", |new| {
            fill(&new, "half")?;
            Err(Error::new(Code::FileFailed, "no"))
        });
        assert_eq!(failed.unwrap_err().message, "no");
        assert_eq!(names(folder.path()), ["data"]);
        assert_eq!(names(&target), [""; 0]);
    }

    /// Cut after each step that changes what is on the disk, and gone on with.
    #[test]
    fn an_exchange_that_was_cut_goes_on_and_knows_the_old_one() {
        for cut in ["filling", "note", "exchange", "keep"] {
            let (folder, target) = folder();
            fs::create_dir(&target).unwrap();
            fs::write(target.join("a"), "old").unwrap();
            let exchange = Exchange::begin(&target, "token").unwrap();
            if cut == "filling" {
                fs::create_dir(folder.path().join(".data.token.restore/new")).unwrap();
                fs::write(folder.path().join(".data.token.restore/new/half"), "half").unwrap();
            } else {
                let note = exchange.prepare("data.1", |new| fill(&new, "new")).unwrap();
                if cut != "note" {
                    exchange.put_in_place(true, &note).unwrap();
                }
                if cut == "keep" {
                    exchange.keep_old(&note).unwrap();
                }
            }
            drop(exchange);
            assert!(Exchange::is_begun(&target, "token").unwrap());
            let again = Exchange::begin(&target, "token").unwrap();
            let kept = again.carry_out("data.1", |new| fill(&new, "new")).unwrap();
            assert_eq!(kept, Some(target.with_file_name("data.1")), "{cut}");
            assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "new", "{cut}");
            assert_eq!(fs::read_to_string(folder.path().join("data.1/a")).unwrap(), "old", "{cut}");
            assert_eq!(names(folder.path()), ["data", "data.1"], "{cut}");
            assert_eq!(names(&target), ["a"], "{cut}");
        }
    }
}
