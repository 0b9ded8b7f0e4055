//! Owns one opened folder and the looks beneath it: by names within it, never through a link, never out of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result, Sealer};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::super::object::{self, Kind, kind_of};
use super::super::owner::Owner;
use super::super::place::{Place, failed, refuse_component};
use super::{Entry, LONGEST_NAME, clean_name, shown};

/// Deeper trees are refused.
const DEEPEST: usize = 128;

/// A folder, opened.
pub(in super::super) struct Folder {
    pub(super) fd: OwnedFd,
    pub(in super::super) path: PathBuf,
}

/// What lies beneath a folder.
pub(in super::super) struct Walked {
    /// Everything that is not left out, sorted by name.
    pub(in super::super) found: Vec<(String, Stat)>,
    /// The folders above what is left out.
    pub(super) kept: BTreeSet<String>,
}

/// What a call leaves out of a tree.
pub(in super::super) struct Excludes(GlobSet);

impl Excludes {
    /// Patterns over paths within the tree; one without a slash counts at any depth.
    pub(in super::super) fn new(effect: &str, patterns: &[String]) -> Result<Self> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let wrong = |error: globset::Error| {
                Error::new(Code::Argument, format!("`{effect}`: field `exclude`: {error}"))
            };
            let trimmed = pattern.trim_matches('/');
            let anywhere = format!("**/{trimmed}");
            let text = if trimmed.contains('/') { trimmed } else { &anywhere };
            let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
            set.add(glob.map_err(wrong)?);
        }
        let set = set.build().map_err(|error| {
            Error::new(Code::Argument, format!("`{effect}`: field `exclude`")).because(error)
        })?;
        Ok(Self(set))
    }

    /// Whether an entry is left out. What lies in a folder that is left out is never looked at.
    pub(in super::super) fn leave_out(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// The same for a name whose folders were not walked.
    pub(in super::super) fn leave_out_whole(&self, name: &str) -> bool {
        let ends = name.match_indices('/').map(|(end, _)| end).chain([name.len()]);
        ends.into_iter().any(|end| self.0.is_match(&name[..end]))
    }
}

impl Folder {
    /// Opens the folder at `path`; `None` when nothing is there.
    pub(in super::super) fn open(path: &Path) -> Result<Option<Self>> {
        let Some((place, stat)) = object::look(path)? else { return Ok(None) };
        if kind_of(&stat) != Kind::Directory {
            return Err(object::refuse_kind(path, kind_of(&stat)));
        }
        Self::of(&place).map(Some)
    }

    /// Opens it, making it and, with `parents`, the folders above.
    pub(in super::super) fn make(path: &Path, parents: bool) -> Result<Self> {
        let place = if parents {
            Place::open_making_parents(path)?
        } else {
            Place::open(path)?.ok_or_else(|| super::super::store::no_folder(path))?
        };
        match rustix::fs::mkdirat(&place.folder, &place.name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Self::of(&place),
            Err(errno) => Err(place.failed("make", errno)),
        }
    }

    fn of(place: &Place) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = place.open_it(flags).map_err(|errno| place.failed("open", errno))?;
        Ok(Self { fd, path: place.path.clone() })
    }

    /// Opens something beneath; the empty name is the folder itself.
    pub(in super::super) fn at(&self, name: &str, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let name = if name.is_empty() { "." } else { name };
        rustix::fs::openat2(
            &self.fd,
            name,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            resolve,
        )
    }

    /// The opened folder of `name`, and its last part.
    pub(super) fn above<'n>(&self, name: &'n str) -> Result<(OwnedFd, &'n str)> {
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
        let fd = self.at(folder, OFlags::PATH | OFlags::DIRECTORY);
        Ok((fd.map_err(|errno| self.failed("open", folder, errno))?, last))
    }

    pub(in super::super) fn path_of(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }

    pub(super) fn failed(&self, what: &str, name: &str, errno: Errno) -> Error {
        let error = failed(what, &self.path_of(name), errno);
        match errno {
            Errno::NOSPC | Errno::DQUOT => error.hint("free some space and run again").retryable(),
            Errno::LOOP | Errno::XDEV => error.hint("a link lies on the way: none is followed"),
            _ => error,
        }
    }

    /// What lies at `name`; `None` when nothing does.
    pub(super) fn look(&self, name: &str) -> Result<Option<Stat>> {
        match self.at(name, OFlags::PATH).and_then(rustix::fs::fstat) {
            Ok(stat) => Ok(Some(stat)),
            // A file or link on the way is found at its own name.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(self.failed("look at", name, errno)),
        }
    }

    /// Opens a regular file for reading.
    pub(in super::super) fn read(&self, name: &str) -> Result<(File, Stat)> {
        // Without NONBLOCK opening a pipe that took the file's place would hang.
        let fd = self.at(name, OFlags::RDONLY | OFlags::NONBLOCK);
        let fd = fd.map_err(|errno| self.failed("read", name, errno))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| self.failed("read", name, errno))?;
        match kind_of(&stat) {
            Kind::File => Ok((File::from(fd), stat)),
            other => Err(object::refuse_kind(&self.path_of(name), other)),
        }
    }

    /// Everything beneath that is not left out, folders before what lies in them, at most `most` entries.
    pub(in super::super) fn walk(&self, excludes: &Excludes, most: u32) -> Result<Walked> {
        let mut found = Vec::new();
        let mut kept = BTreeSet::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let fd = self.at(&folder, OFlags::RDONLY | OFlags::DIRECTORY);
            let fd = fd.map_err(|errno| self.failed("list", &folder, errno))?;
            let names = Dir::new(fd).map_err(|errno| self.failed("list", &folder, errno))?;
            for entry in names {
                let entry = entry.map_err(|errno| self.failed("list", &folder, errno))?;
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let name = self.joined(&folder, name)?;
                if excludes.leave_out(&name) {
                    kept.extend(name.match_indices('/').map(|(end, _)| name[..end].to_owned()));
                    continue;
                }
                let Some(stat) = self.look(&name)? else { continue };
                if found.len() >= most as usize {
                    return Err(too_many(&self.path, most));
                }
                if kind_of(&stat) == Kind::Directory {
                    folders.push(name.clone());
                }
                found.push((name, stat));
            }
        }
        found.sort_by(|(left, _), (right, _)| left.cmp(right));
        Ok(Walked { found, kept })
    }

    fn joined(&self, folder: &str, name: &[u8]) -> Result<String> {
        let refuse = |why: &str| {
            let message = format!("`{}` {why}", self.path_of(folder).join(shown(name)).display());
            Error::new(Code::FileRefused, message).hint("rename it, or leave its folder out with `exclude`")
        };
        let name = clean_name(name).map_err(refuse)?;
        let joined = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if joined.len() > LONGEST_NAME || joined.matches('/').count() >= DEEPEST {
            return Err(refuse("lies too deep"));
        }
        Ok(joined)
    }

    /// Describes what was found at `name`, with a file's hash; its content is kept where `keep` takes it.
    pub(in super::super) fn describe(
        &self,
        name: &str,
        stat: &Stat,
        sealer: &Sealer,
        keep: &mut dyn FnMut(&str, u64) -> bool,
    ) -> Result<Entry> {
        let kind = kind_of(stat);
        let mut entry = Entry {
            kind,
            mode: Some(stat.st_mode & 0o7777),
            owner: Some(Owner { user: stat.st_uid, group: stat.st_gid }.to_string()),
            size: 0,
            hash: None,
            content: None,
        };
        match kind {
            Kind::File => self.describe_file(name, &mut entry, sealer, keep)?,
            Kind::Link => {
                let (above, last) = self.above(name)?;
                let target = rustix::fs::readlinkat(above, last, Vec::new());
                entry.content = target.ok().map(|target| target.to_bytes().to_vec());
            }
            Kind::Directory | Kind::Other => {}
        }
        Ok(entry)
    }

    fn describe_file(
        &self,
        name: &str,
        entry: &mut Entry,
        sealer: &Sealer,
        keep: &mut dyn FnMut(&str, u64) -> bool,
    ) -> Result<()> {
        let (file, stat) = self.read(name)?;
        // What a file grows meanwhile does not count: nobody could say when it ends.
        let mut file = file.take(u64::try_from(stat.st_size).unwrap_or(0));
        let broken = |error: std::io::Error| {
            self.failed("read", name, Errno::from_io_error(&error).unwrap_or(Errno::IO))
        };
        let mut tagger = sealer.tagger();
        let small = u64::try_from(stat.st_size).unwrap_or(0) <= object::RESTORABLE;
        let mut held = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut buffer).map_err(broken)?;
            if count == 0 {
                break;
            }
            tagger.update(&buffer[..count]);
            entry.size += count as u64;
            if small {
                held.extend_from_slice(&buffer[..count]);
            }
        }
        let hash = tagger.tag();
        if held.len() as u64 == entry.size && keep(&hash, entry.size) {
            entry.content = Some(held);
        }
        entry.hash = Some(hash);
        Ok(())
    }

    /// Refuses a source that holds what cannot be carried over.
    pub(in super::super) fn refuse_special(&self, name: &str, kind: Kind) -> Result<()> {
        let what = match kind {
            Kind::File | Kind::Directory => return Ok(()),
            Kind::Link => "is a symbolic link",
            Kind::Other => "is a device, pipe or socket",
        };
        let path = self.path_of(name);
        let error = refuse_component(&self.path, &path, what);
        Err(Error { hint: None, ..error }.hint("leave it out with `exclude`"))
    }
}

pub(in super::super) fn too_many(path: &Path, most: u32) -> Error {
    Error::new(Code::TooLarge, format!("`{}` has more than {most} entries", path.display()))
        .hint("raise `entries`, or leave some out with `exclude`")
}

/// What a plan will have made or removed beneath a folder counts as found.
pub(in super::super) fn with_planned(
    context: &effect::Context,
    folder: &Path,
    listing: &mut super::Listing,
    mut is_relevant: impl FnMut(&str) -> bool,
) -> Result<()> {
    let prefix = context.key("files", None, &format!("{}/", folder.to_string_lossy().trim_end_matches('/')));
    for (key, planned) in context.overlay.beneath::<object::Object>(&prefix) {
        let name = &key[prefix.len()..];
        if !is_relevant(name) {
            continue;
        }
        match planned {
            None => drop(listing.remove(name)),
            Some(object) => {
                for (end, _) in name.match_indices('/') {
                    let parent = || Entry::folder(Some(0o755));
                    listing.entry(name[..end].to_owned()).or_insert_with(parent);
                }
                listing.insert(name.to_owned(), planned_entry(context, &object)?);
            }
        }
    }
    Ok(())
}

fn planned_entry(context: &effect::Context, object: &object::Object) -> Result<Entry> {
    let content = match &object.content {
        Some(hidden) => Some(context.sealer.open_hidden(hidden)?.to_vec()),
        None => None,
    };
    Ok(Entry {
        kind: object.kind,
        mode: Some(object.mode.0),
        owner: Some(object.owner.clone()),
        size: object.size,
        hash: object.hash.clone(),
        content,
    })
}

impl Folder {
    /// What lies at `names`, of those that lie there, each described; contents are kept as `keep` says.
    pub(super) fn find<'n>(
        &self,
        names: impl Iterator<Item = &'n String>,
        sealer: &Sealer,
        keep: &mut dyn FnMut(&str, &str, u64) -> bool,
    ) -> Result<super::Listing> {
        let mut found = super::Listing::new();
        for name in names {
            if let Some(stat) = self.look(name)? {
                let entry = self.describe(name, &stat, sealer, &mut |hash, size| keep(name, hash, size))?;
                found.insert(name.clone(), entry);
            }
        }
        Ok(found)
    }
}
