//! Owns how a snapshot is read: from its beginning to its end, with the sum of everything, on two threads.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, sync_channel};

use age::x25519::Identity;
use effect::{Code, Error, Result};
use rustix::fs::OFlags;

use super::Bounds;
use super::about::{self, End, FORMAT, Head};
use super::seal;
use crate::files::object::{self, Kind, kind_of};

/// zstd's own window at the levels that snapshots have; more is asked for by nobody who means well.
const LARGEST_WINDOW: u32 = 27;
/// What one thread hands to the other at once, and how much of it lies between them at most.
const PIECE: usize = 512 * 1024;
const PIECES: usize = 4;
/// A header of the archive.
const BLOCK: usize = 512;
/// Behind the end of an archive are a few blocks of zeros.
const MOST_ZEROS: u64 = 1 << 20;

/// What something in a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Folder,
    File,
    /// With its target.
    Symlink(Vec<u8>),
    /// With the path of the file that it is another name of.
    Hardlink(Vec<u8>),
}

/// Something in a snapshot. The root has no parts.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its path, none of whose parts is `.` or `..`.
    pub(super) path: Vec<u8>,
    pub(super) what: What,
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) modified: i64,
    pub(super) size: u64,
}

/// Whether the reading goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    Enough,
}

/// Opens the file of a snapshot; `None` when nothing is there.
pub(super) fn open(path: &Path) -> Result<Option<File>> {
    let Some((place, stat)) = object::look(path)? else { return Ok(None) };
    if kind_of(&stat) != Kind::File {
        return Err(object::refuse_kind(path, kind_of(&stat)));
    }
    let fd = place.open_it(OFlags::RDONLY | OFlags::NONBLOCK).map_err(|errno| place.failed("open", errno))?;
    Ok(Some(File::from(fd)))
}

pub(super) fn missing(path: &Path) -> Error {
    Error::new(Code::FileFailed, format!("there is no snapshot `{}`", path.display()))
        .hint("`files.snapshots` lists those of a folder")
}

/// The refusal of a file that is no whole snapshot.
pub(super) fn torn(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::ArchiveBroken, format!("`{}` is no whole snapshot", path.display()))
        .because(cause)
        .hint("it is cut off, damaged or something else: take an older one; nothing was changed")
}

/// What a snapshot says at its beginning.
pub(super) fn head(path: &Path, file: File) -> Result<Head> {
    if let Some(head) = seal::told(path, &file)? {
        return known(path, head);
    }
    let decoder = decoder(path, file, None)?;
    let mut archive = tar::Archive::new(decoder);
    let mut entries = archive.entries().map_err(|error| torn(path, error))?;
    first(path, entries.next())
}

fn first<R: Read>(path: &Path, entry: Option<io::Result<tar::Entry<'_, R>>>) -> Result<Head> {
    let mut entry = entry.ok_or_else(|| torn(path, "it is empty"))?.map_err(|error| torn(path, error))?;
    if entry.header().entry_type() != tar::EntryType::XGlobalHeader {
        return Err(torn(path, "it is an archive, and no snapshot"));
    }
    let size = entry.size();
    known(path, about::read(&mut entry, size).map_err(|error| torn(path, error))?)
}

/// Refuses a form that is not known yet.
fn known(path: &Path, head: Head) -> Result<Head> {
    if head.mcrun_snapshot > FORMAT {
        let message = format!("`{}` was taken by a newer mcrun", path.display());
        return Err(Error::new(Code::ArchiveRefused, message)
            .because(format!("it has version {}, this mcrun knows {FORMAT}", head.mcrun_snapshot))
            .hint("restore it with that mcrun, or by hand with `tar`"));
    }
    Ok(head)
}

/// Reads a whole snapshot: `begun` may refuse it by what it says of itself, `visit` is given everything in it. `None` where
/// `visit` had enough; a snapshot that is torn or changed is an error, at the latest at its end.
pub(super) fn each(
    path: &Path,
    file: File,
    key: Option<&Identity>,
    bounds: Bounds,
    begun: &mut dyn FnMut(&Head) -> Result<()>,
    visit: &mut dyn FnMut(&Item, &mut dyn Read) -> Result<Next>,
) -> Result<Option<(Head, End)>> {
    let broken = |error: io::Error| torn(path, error);
    let ahead = Ahead::new(decoder(path, file, key)?).map_err(broken)?;
    let hash = Rc::new(RefCell::new(blake3::Hasher::new()));
    let mut archive =
        tar::Archive::new(Lagging { source: ahead, hash: hash.clone(), tail: Vec::with_capacity(2 * BLOCK) });
    let mut entries = archive.entries().map_err(broken)?;
    let head = first(path, entries.next())?;
    begun(&head)?;
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let end = loop {
        let entry = entries.next().ok_or_else(|| torn(path, "it has no end"))?;
        let mut entry = entry.map_err(broken)?;
        if entry.header().entry_type() == tar::EntryType::XGlobalHeader {
            let (sum, size) = (hash.borrow().finalize().to_hex().to_string(), entry.size());
            let end: End = about::read(&mut entry, size).map_err(broken)?;
            if end.sum != sum {
                return Err(torn(path, "its sum does not fit"));
            }
            break end;
        }
        let item = item(path, &entry)?;
        count += 1;
        bytes = bytes.saturating_add(item.size);
        if count > bounds.entries || bytes > bounds.bytes {
            let message = format!("the snapshot `{}` holds more than it may", path.display());
            return Err(
                Error::new(Code::TooLarge, message).hint("raise `limit` or `entries` if that is expected")
            );
        }
        if visit(&item, &mut entry)? == Next::Enough {
            return Ok(None);
        }
    };
    if entries.next().is_some() {
        return Err(torn(path, "something follows behind its end"));
    }
    drain(archive.into_inner()).map_err(broken)?;
    Ok(Some((head, end)))
}

/// The sum that zstd has made of it all comes behind its end.
fn drain(source: impl Read) -> io::Result<()> {
    let (mut source, mut buffer) = (source.take(MOST_ZEROS), vec![0; 64 * 1024]);
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Err(io::Error::other("something follows behind its end"));
        }
    }
}

type Decoder = zstd::stream::read::Decoder<'static, Box<dyn BufRead + Send>>;

fn decoder(path: &Path, file: File, key: Option<&Identity>) -> Result<Decoder> {
    let opened = seal::open(path, file, key)?;
    let decoder = || -> io::Result<Decoder> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(opened)?;
        decoder.window_log_max(LARGEST_WINDOW)?;
        Ok(decoder)
    };
    decoder().map_err(|error| torn(path, error))
}

fn item<R: Read>(path: &Path, entry: &tar::Entry<'_, R>) -> Result<Item> {
    let refuse = |name: &[u8], what: &str| {
        let name = String::from_utf8_lossy(name);
        let message =
            format!("the snapshot `{}` holds `{}`, which {what}", path.display(), crate::exec::clip(&name));
        Error::new(Code::ArchiveRefused, message).hint("it was not taken by mcrun: look into it with `tar`")
    };
    let given = entry.path_bytes();
    let clean = |name: &[u8]| plain(name).ok_or_else(|| refuse(name, "lies outside"));
    let link = || entry.link_name_bytes().map(|name| name.to_vec()).unwrap_or_default();
    let what = match entry.header().entry_type() {
        tar::EntryType::Directory => What::Folder,
        tar::EntryType::Regular => What::File,
        tar::EntryType::Symlink => What::Symlink(link()),
        tar::EntryType::Link => What::Hardlink(clean(&link())?),
        _ => return Err(refuse(&given, "is no file, folder or link")),
    };
    let header = entry.header();
    let number = |number: io::Result<u64>| number.ok().and_then(|number| u32::try_from(number).ok());
    let (Some(user), Some(group), Ok(mode), Ok(modified)) =
        (number(header.uid()), number(header.gid()), header.mode(), header.mtime())
    else {
        return Err(torn(path, "a header in it is broken"));
    };
    Ok(Item {
        path: clean(&given)?,
        size: if what == What::File { entry.size() } else { 0 },
        what,
        mode: mode & 0o7777,
        user,
        group,
        modified: i64::try_from(modified).unwrap_or(i64::MAX),
    })
}

/// The path without `./` and a slash at its end; `None` where it leads out.
fn plain(path: &[u8]) -> Option<Vec<u8>> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let is_plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    let leads_nowhere = path.is_empty() || path.split(|byte| *byte == b'/').all(is_plain);
    leads_nowhere.then(|| path.to_vec())
}

/// Reads ahead on a thread of its own, which ends when nobody wants more.
struct Ahead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    used: usize,
    is_over: bool,
}

impl Ahead {
    fn new(mut source: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, pieces) = sync_channel(PIECES);
        let work = move || loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = source.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            let is_last = piece.is_empty() || read.is_err();
            if sender.send(read.map(|_| piece)).is_err() || is_last {
                return;
            }
        };
        std::thread::Builder::new().name("snapshot-read".to_owned()).spawn(work)?;
        Ok(Self { pieces, piece: Vec::new(), used: 0, is_over: false })
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.piece.len() && !self.is_over {
            let next = self.pieces.recv().map_err(|_| io::Error::other("the reader has ended early"))?;
            self.piece = next.inspect_err(|_| self.is_over = true)?;
            self.used = 0;
            self.is_over = self.piece.is_empty();
        }
        let count = (self.piece.len() - self.used).min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}

/// Sums up what passes, one header behind: the one that says what follows does not belong to what it sums up.
struct Lagging<R> {
    source: R,
    hash: Rc<RefCell<blake3::Hasher>>,
    tail: Vec<u8>,
}

impl<R: Read> Read for Lagging<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let bytes = &buffer[..count];
        let mut hash = self.hash.borrow_mut();
        if count >= BLOCK {
            hash.update(&self.tail);
            hash.update(&bytes[..count - BLOCK]);
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[count - BLOCK..]);
        } else {
            self.tail.extend_from_slice(bytes);
            let settled = self.tail.len().saturating_sub(BLOCK);
            hash.update(&self.tail[..settled]);
            self.tail.drain(..settled);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within() {
        assert_eq!(plain(b"./").unwrap(), b"");
        assert_eq!(plain(b"a/b/").unwrap(), b"a/b");
        assert_eq!(plain(b"\xff/x").unwrap(), b"\xff/x");
        for bad in [&b"/etc"[..], b"../x", b"a/../b", b"a//b", b"a/./b", b"a\0b"] {
            assert_eq!(plain(bad), None, "{bad:?}");
        }
    }
}
