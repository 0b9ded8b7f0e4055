//! Owns the state of one path as it is found: what the effects on files compare and restore.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use effect::units::Mode;
use effect::{Code, Error, Hidden, Result, Sealer};
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::owner::Owner;
use super::place::{Place, failed};

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link, which no effect follows.
    Link,
    /// A device, pipe or socket.
    Other,
}

/// A file or folder as it was found or will be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Object {
    /// The absolute path.
    pub path: String,
    /// What lies there.
    pub kind: Kind,
    /// Its size in bytes; 0 for a folder.
    pub size: u64,
    /// Keyed hash of a file's content: equal for equal contents on this node, and says nothing about them elsewhere.
    /// Absent for files too large to be looked into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Its permission bits.
    pub mode: Mode,
    /// User and group by number, `850:850`.
    pub owner: String,
    /// The content, sealed, where it may have to be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Hidden>,
}

impl Object {
    /// A file of this process's user that is to be made, of contents that nobody can know yet.
    pub(crate) fn new_file(path: &Path, mode: Mode) -> Self {
        let own =
            Owner { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() };
        Self {
            path: path.to_string_lossy().into_owned(),
            kind: Kind::File,
            size: 0,
            hash: None,
            mode,
            owner: own.to_string(),
            content: None,
        }
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        Owner::parse(&self.owner)
    }

    /// The same without its content, as results carry it.
    pub(super) fn without_content(&self) -> Self {
        Self { content: None, ..self.clone() }
    }
}

/// What is kept of a content, so that it can be restored.
pub(super) const RESTORABLE: u64 = 1 << 20;

/// The largest content that is held in memory, whatever a caller allows.
const LARGEST: u64 = 256 << 20;

/// Which content an observation looks into and keeps.
pub(super) struct Keep {
    /// A content with this hash need not be kept: it is the one that is wanted.
    pub(super) unless: Option<String>,
    /// A larger file than this and than what can be restored is not read at all.
    pub(super) wanted_size: u64,
    /// A file of exactly this size is hashed without being held, however large it is.
    pub(super) streamed_size: u64,
}

/// Looks at `path`; `None` when nothing is there.
pub(super) fn observe(path: &Path, sealer: &Sealer, keep: &Keep) -> Result<Option<Object>> {
    let Some((place, stat)) = look(path)? else { return Ok(None) };
    let kind = kind_of(&stat);
    let mut object = Object {
        path: path.to_string_lossy().into_owned(),
        kind,
        size: if kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        hash: None,
        mode: Mode(stat.st_mode & 0o7777),
        owner: Owner { user: stat.st_uid, group: stat.st_gid }.to_string(),
        content: None,
    };
    let largest = RESTORABLE.max(keep.wanted_size);
    if kind == Kind::File && object.size > RESTORABLE && object.size == keep.streamed_size {
        object.hash = Some(hash_of(&place, sealer)?);
    } else if kind == Kind::File && object.size <= largest {
        let content = read_all(&place, largest)?;
        object.size = content.len() as u64;
        let hash = sealer.tag(&content);
        if keep.unless.as_ref() != Some(&hash) && object.size <= RESTORABLE {
            object.content = Some(sealer.hide(&content));
        }
        object.hash = Some(hash);
    }
    Ok(Some(object))
}

/// Opens the folder of `path` and looks at its name there; `None` when nothing is there.
pub(super) fn look(path: &Path) -> Result<Option<(Place, Stat)>> {
    let Some(place) = Place::open(path)? else { return Ok(None) };
    let found = match place.open_it(OFlags::PATH) {
        Ok(fd) => rustix::fs::fstat(&fd),
        Err(errno) => Err(errno),
    };
    match found {
        Ok(stat) => Ok(Some((place, stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(place.failed("look at", errno)),
    }
}

pub(super) fn kind_of(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

/// The content of a regular file of at most `limit` bytes.
pub(super) fn read_all(place: &Place, limit: u64) -> Result<Zeroizing<Vec<u8>>> {
    // Without NONBLOCK opening a pipe that took the file's place would hang.
    let fd = place.open_it(OFlags::RDONLY | OFlags::NONBLOCK).map_err(|errno| place.failed("read", errno))?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| place.failed("read", errno))?;
    if kind_of(&stat) != Kind::File {
        return Err(refuse_kind(&place.path, kind_of(&stat)));
    }
    let limit = limit.min(LARGEST);
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > limit {
        return Err(too_large(&place.path, limit));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    let file = File::from(fd);
    let read = file.take(limit + 1).read_to_end(&mut content);
    read.map_err(|error| failed("read", &place.path, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    if content.len() as u64 > limit {
        return Err(too_large(&place.path, limit));
    }
    Ok(content)
}

/// The keyed hash of a regular file of any size.
fn hash_of(place: &Place, sealer: &Sealer) -> Result<String> {
    let fd = place.open_it(OFlags::RDONLY | OFlags::NONBLOCK).map_err(|errno| place.failed("read", errno))?;
    let mut file = File::from(fd);
    let mut tagger = sealer.tagger();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file
            .read(&mut buffer)
            .map_err(|error| place.failed("read", Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        if count == 0 {
            return Ok(tagger.tag());
        }
        tagger.update(&buffer[..count]);
    }
}

pub(super) fn too_large(path: &Path, limit: u64) -> Error {
    let message = format!("`{}` is larger than {}", path.display(), effect::units::Size(limit));
    Error::new(Code::TooLarge, message)
}

/// The refusal of a path that holds something else than the effect is about.
pub(super) fn refuse_kind(path: &Path, kind: Kind) -> Error {
    let what = match kind {
        Kind::File => "is a regular file",
        Kind::Directory => "is a folder",
        Kind::Link => "is a symbolic link",
        Kind::Other => "is a device, pipe or socket",
    };
    super::place::refuse_component(path, path, what)
}

/// The path of a planned or observed object.
pub(super) fn path_of(object: &Object) -> PathBuf {
    PathBuf::from(&object.path)
}
