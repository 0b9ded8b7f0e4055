//! Owns how a file or folder is brought into a described state: the comparison, and the change without a moment in
//! which half of it could be seen.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use effect::units::Mode;
use effect::{Action, Change, Code, Context, Error, FieldChange, Result, Sealer};
use rustix::fs::{Gid, Mode as RawMode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::diff;
use super::object::{self, Keep, Kind, Object};
use super::owner::{Owner, Wish};
use super::place::Place;

/// The remark on a change that undo cannot take back whole.
pub(super) const NOT_RESTORABLE: &str = "the old content is too large to be kept for undo";

/// A described file or folder.
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    /// The content of a file; none for a folder.
    pub(super) content: Option<Zeroizing<Vec<u8>>>,
    /// Permission bits; an existing object keeps its own unless given.
    pub(super) mode: Option<Mode>,
    /// The permission bits of a new object.
    pub(super) new_mode: Mode,
    pub(super) owner: Option<Owner>,
    /// Whether missing folders above are made.
    pub(super) parents: bool,
    /// Whether the content holds a secret, so that nobody is shown it.
    pub(super) secret: bool,
}

impl Wanted {
    fn kind(&self) -> Kind {
        if self.content.is_some() { Kind::File } else { Kind::Directory }
    }

    /// What an observation before a change keeps.
    pub(super) fn keep(&self, sealer: &Sealer) -> Keep {
        let content = self.content.as_ref();
        Keep {
            unless: content.map(|content| sealer.tag(content)),
            wanted_size: content.map_or(0, |content| content.len() as u64),
            streamed_size: 0,
        }
    }

    /// Compares what was found with what is wanted.
    pub(super) fn change(&self, context: &Context, before: Option<&Object>) -> Result<Change<Object>> {
        let mut change = change_to(self.after(context, before)?, before, self.owner.is_some());
        if !self.secret {
            change.diff = diff::between(context, before, change.after.as_ref());
        }
        Ok(change)
    }

    fn after(&self, context: &Context, before: Option<&Object>) -> Result<Object> {
        if let Some(before) = before.filter(|before| before.kind != self.kind()) {
            return Err(object::refuse_kind(&self.path, before.kind));
        }
        let own =
            Owner { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() };
        let owner = self.owner.map(|owner| owner.to_string());
        Ok(Object {
            path: self.path.to_string_lossy().into_owned(),
            kind: self.kind(),
            size: self.content.as_ref().map_or(0, |content| content.len() as u64),
            hash: self.content.as_ref().map(|content| context.sealer.tag(content)),
            mode: self.mode.or_else(|| before.map(|before| before.mode)).unwrap_or(self.new_mode),
            owner: owner
                .or_else(|| before.map(|before| before.owner.clone()))
                .unwrap_or_else(|| own.to_string()),
            content: self.content.as_ref().map(|content| context.sealer.hide(content)),
        })
    }

    /// Makes it so. Runs on a thread that may block; what a kill left behind is taken up again.
    pub(super) fn store(&self, before: Option<&Object>, after: &Object, token: &str) -> Result<()> {
        let place = place(&self.path, self.parents)?;
        match &self.content {
            Some(_) if before.is_some_and(|before| before.hash == after.hash) => adjust(&place, after),
            Some(content) => replace(&place, before, after, token, |file| {
                file.write_all(content).map_err(|error| {
                    disk_error(&place, "write", Errno::from_io_error(&error).unwrap_or(Errno::IO))
                })
            }),
            None => {
                make_folder(&place)?;
                adjust(&place, after)
            }
        }
    }
}

/// The change that leads to `after`.
pub(super) fn change_to(after: Object, before: Option<&Object>, names_owner: bool) -> Change<Object> {
    let mut fields = Vec::new();
    let mut differ = |path: &str, before: Option<Value>, after: Option<Value>| {
        if before != after {
            fields.push(FieldChange { path: path.into(), before, after, replaces: false });
        }
    };
    differ("content", before.and_then(content_line), content_line(&after));
    differ("mode", before.map(|object| json!(object.mode)), Some(json!(after.mode)));
    if before.is_some() || names_owner {
        differ("owner", before.map(|object| json!(object.owner)), Some(json!(after.owner)));
    }
    match before {
        None => Change::to(Action::Create, Some(after), fields),
        Some(_) if fields.is_empty() => Change::none(Some(after.without_content())),
        Some(before) => {
            let lost = before.content.is_none() && before.hash != after.hash;
            let change = Change::to(Action::Update, Some(after), fields);
            if lost { change.losing(NOT_RESTORABLE) } else { change }
        }
    }
}

/// What a plan shows of a content.
fn content_line(object: &Object) -> Option<Value> {
    let size = match object.kind {
        Kind::File => format!("{} bytes", object.size),
        _ => return None,
    };
    Some(match object.hash.as_deref() {
        Some(hash) => json!(format!("{size}, {}", &hash[..hash.len().min(12)])),
        None => json!(size),
    })
}

/// Opens the folder that holds `path`, making missing ones with `parents`.
pub(super) fn place(path: &Path, parents: bool) -> Result<Place> {
    if parents {
        return Place::open_making_parents(path);
    }
    Place::open(path)?.ok_or_else(|| no_folder(path))
}

pub(super) fn no_folder(path: &Path) -> Error {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let message = format!("the folder of `{}` does not exist", path.display());
    Error::new(Code::FileFailed, message)
        .because(format!("no such folder: {}", parent.display()))
        .hint("set `parents = true`, or make it with `files.directory`")
}

/// Puts the new content under a name of its own beside the old and renames it over: whoever reads sees one or the other.
pub(super) fn replace(
    place: &Place,
    before: Option<&Object>,
    after: &Object,
    token: &str,
    fill: impl FnOnce(&mut File) -> Result<()>,
) -> Result<()> {
    let temporary = temporary_name(place, token);
    let failed = |what: &str| {
        let what = what.to_owned();
        move |errno: Errno| disk_error(place, &what, errno)
    };
    match rustix::fs::unlinkat(&place.folder, &temporary, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(place.failed("clear the way for", errno)),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&place.folder, &temporary, flags, RawMode::RUSR | RawMode::WUSR)
        .map_err(failed("create a file beside"))?;
    let mut file = File::from(fd);
    let finish = |file: &File| {
        set_owner_and_mode(file, after)?;
        rustix::fs::fsync(file)?;
        let flags = if before.is_none() { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        match rustix::fs::renameat_with(&place.folder, &temporary, &place.folder, &place.name, flags) {
            // Not every file system knows the flag.
            Err(Errno::INVAL) => rustix::fs::renameat(&place.folder, &temporary, &place.folder, &place.name),
            renamed => renamed,
        }
    };
    let filled =
        fill(&mut file).and_then(|()| finish(&file).map_err(|errno| disk_error(place, "write", errno)));
    if let Err(error) = filled {
        // The rest of a failed attempt must not stay; the failure itself is what is reported.
        let _ = rustix::fs::unlinkat(&place.folder, &temporary, rustix::fs::AtFlags::empty());
        return Err(error);
    }
    sync_folder(place)
}

fn temporary_name(place: &Place, token: &str) -> String {
    let name: String = place.name.to_string_lossy().chars().take(50).collect();
    format!(".{name}.{token}.mcrun")
}

fn disk_error(place: &Place, what: &str, errno: Errno) -> Error {
    let error = place.failed(what, errno);
    match errno {
        Errno::NOSPC | Errno::DQUOT => error.hint("free some space; the file is as it was").retryable(),
        Errno::EXIST => error.hint("it appeared meanwhile; run again").retryable(),
        _ => error,
    }
}

fn make_folder(place: &Place) -> Result<()> {
    match rustix::fs::mkdirat(&place.folder, &place.name, RawMode::RWXU) {
        Ok(()) => sync_folder(place),
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(disk_error(place, "make", errno)),
    }
}

/// Sets owner and mode of something that stays where it is.
pub(super) fn adjust(place: &Place, after: &Object) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let fd = place.open_it(flags).map_err(|errno| place.failed("open", errno))?;
    set_owner_and_mode(&fd, after).map_err(|errno| place.failed("change mode or owner of", errno))?;
    rustix::fs::fsync(&fd).map_err(|errno| place.failed("write", errno))
}

fn set_owner_and_mode(fd: impl std::os::fd::AsFd, after: &Object) -> std::result::Result<(), Errno> {
    let stat = rustix::fs::fstat(&fd)?;
    let now = Owner { user: stat.st_uid, group: stat.st_gid };
    if let Some(owner) = after.owner().filter(|owner| *owner != now) {
        let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
        rustix::fs::fchown(&fd, Some(user), Some(group))?;
    }
    // After the owner: changing that takes special bits away.
    rustix::fs::fchmod(&fd, RawMode::from_raw_mode(after.mode.0))
}

pub(super) fn sync_folder(place: &Place) -> Result<()> {
    let synced = place.readable_folder().and_then(rustix::fs::fsync);
    match synced {
        // Some file systems cannot sync folders, and a folder need not be readable to be written in.
        Ok(()) | Err(Errno::INVAL | Errno::ACCESS) => Ok(()),
        Err(errno) => Err(place.failed("sync the folder of", errno)),
    }
}

/// A word that tells the temporary files of different effects apart and is the same when an effect is tried again.
pub(crate) fn token(context: &Context) -> String {
    let identity = format!("{} {}", context.run, context.identity);
    blake3::hash(identity.as_bytes()).to_hex()[..8].to_owned()
}

/// The owner that a call asks for.
pub(super) fn owner(wish: Option<&Wish>) -> Result<Option<Owner>> {
    wish.map(Wish::resolve).transpose()
}
