//! Owns how a folder becomes a snapshot: streamed, so that it takes no memory however much it holds.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use age::x25519::Recipient;
use effect::units::Size;
use effect::{Code, Error, Result};
use rustix::fs::{Advice, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::Serialize;

use super::super::place::failed;
use super::Bounds;
use super::about::{self, End, Head};
use super::seal;
use super::walk::{Found, shown, walk};

/// More threads than this compress no faster than a disk gives.
const MOST_THREADS: u32 = 4;
const BUFFER: usize = 256 * 1024;
/// What one thread hands to the other at once, and how much of it lies between them at most.
const PIECE: usize = 512 * 1024;
const PIECES: usize = 8;
/// How much is written before the disk is told to begin with it.
const EARLY: u64 = 8 << 20;
/// A name as long as this does not fit into a header.
const LONGEST_LINK: usize = 100;

/// How a folder is packed.
pub(super) struct Packing<'a> {
    pub(super) folder: OwnedFd,
    pub(super) root: &'a Path,
    pub(super) head: Head,
    pub(super) level: i32,
    pub(super) bounds: Bounds,
    /// Whether a file that changes meanwhile is an error.
    pub(super) still: bool,
    /// For whom it is sealed.
    pub(super) seal: Option<Recipient>,
}

/// Packs into `file`: one thread reads, another one sums up, compresses with others and writes.
pub(super) fn pack(file: &mut File, packing: Packing<'_>) -> Result<End> {
    let (root, level) = (packing.root, packing.level);
    let (head, recipient) = (packing.head.clone(), packing.seal.clone());
    std::thread::scope(|scope| {
        let (pieces, taken) = sync_channel(PIECES);
        let writer = std::thread::Builder::new().name("snapshot-write".to_owned());
        let writing = writer.spawn_scoped(scope, move || {
            let sink = seal::seal(
                BufWriter::with_capacity(BUFFER, Early { file, written: 0, told: 0 }),
                recipient.as_ref(),
                &head,
            )?;
            write(sink, level, taken)?.finish()?.flush()
        });
        let writing = writing.map_err(|error| unwritten(root, &error))?;
        let packed = pack_into(Handing { pieces, piece: Vec::with_capacity(PIECE) }, packing);
        let written = writing.join().unwrap_or_else(|_| Err(io::Error::other("its writer has ended early")));
        // A writer that fails ends the packing as well, which knows no reason.
        written.map_err(|error| unwritten(root, &error)).and(packed)
    })
}

fn pack_into(sink: Handing, packing: Packing<'_>) -> Result<End> {
    let root = packing.root;
    let mut packer = Packer {
        builder: tar::Builder::new(sink),
        root,
        bounds: packing.bounds,
        still: packing.still,
        linked: HashMap::new(),
        end: End { entries: 0, bytes: 0, skipped: 0, changed: 0, sum: String::new() },
        buffer: vec![0; BUFFER],
    };
    packer.about(&packing.head)?;
    packer.root(&packing.folder)?;
    let vanished = walk(packing.folder, root, &mut |found| packer.add(found))?;
    if vanished > 0 {
        packer.changed(root)?;
    }
    let sum = packer.builder.get_mut().sum().map_err(|error| unwritten(root, &error))?;
    packer.end.sum = sum.to_hex().to_string();
    let end = packer.end.clone();
    packer.about(&end)?;
    packer.builder.into_inner().and_then(|mut sink| sink.flush()).map_err(|error| unwritten(root, &error))?;
    Ok(end)
}

/// What the reading thread hands to the writing one.
enum Piece {
    Bytes(Vec<u8>),
    /// Asks for the sum of everything before.
    Sum(SyncSender<blake3::Hash>),
}

/// Hands what is written to it over in large pieces.
struct Handing {
    pieces: SyncSender<Piece>,
    piece: Vec<u8>,
}

impl Handing {
    fn hand(&self, piece: Piece) -> io::Result<()> {
        self.pieces.send(piece).map_err(|_| io::Error::other("nobody writes it"))
    }

    fn sum(&mut self) -> io::Result<blake3::Hash> {
        self.flush()?;
        let (sum, known) = sync_channel(1);
        self.hand(Piece::Sum(sum))?;
        known.recv().map_err(|_| io::Error::other("nobody sums it up"))
    }
}

impl Write for Handing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() + bytes.len() > PIECE {
            self.flush()?;
        }
        self.piece.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.hand(Piece::Bytes(piece))
    }
}

/// Sums up, compresses and writes what it is handed until there is no more.
fn write<W: Write>(sink: W, level: i32, pieces: Receiver<Piece>) -> io::Result<W> {
    let mut encoder = zstd::stream::write::Encoder::new(sink, level)?;
    encoder.include_checksum(true)?;
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    encoder.multithread(threads.min(MOST_THREADS))?;
    let mut hash = blake3::Hasher::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => {
                hash.update(&bytes);
                encoder.write_all(&bytes)?;
            }
            // Who has asked and does not wait has failed otherwise.
            Piece::Sum(wanted) => drop(wanted.send(hash.finalize())),
        }
    }
    encoder.finish()
}

/// Has the disk begin early: else nothing is on it before the last byte, and the sync at the end takes as long again.
struct Early<'a> {
    file: &'a mut File,
    written: u64,
    told: u64,
}

impl Write for Early<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        if let Some(length) = NonZeroU64::new(self.written - self.told).filter(|length| length.get() >= EARLY)
        {
            // It only hurries: what can be given back is what is on the disk. The sync at the end is what counts.
            let _ = rustix::fs::fadvise(&*self.file, self.told, Some(length), Advice::DontNeed);
            self.told = self.written;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn unwritten(root: &Path, error: &io::Error) -> Error {
    let message = format!("the snapshot of `{}` cannot be written", root.display());
    let failure = Error::new(Code::FileFailed, message).because(error);
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            failure.hint("free some space and run again; nothing was left behind").retryable()
        }
        _ => failure,
    }
}

struct Packer<'a> {
    builder: tar::Builder<Handing>,
    root: &'a Path,
    bounds: Bounds,
    still: bool,
    /// Where files with several names were packed first, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    end: End,
    buffer: Vec<u8>,
}

impl Packer<'_> {
    fn about(&mut self, text: &impl Serialize) -> Result<()> {
        about::write(&mut self.builder, text).map_err(|error| unwritten(self.root, &error))
    }

    fn root(&mut self, folder: &OwnedFd) -> Result<()> {
        let stat = rustix::fs::fstat(folder).map_err(|errno| failed("look at", self.root, errno))?;
        let mut header = header_of(&stat, tar::EntryType::Directory, 0);
        self.end.entries += 1;
        let appended = self.builder.append_data(&mut header, "./", io::empty());
        appended.map_err(|error| unwritten(self.root, &error))
    }

    fn add(&mut self, found: &Found<'_>) -> Result<()> {
        self.end.entries += 1;
        if self.end.entries > self.bounds.entries {
            let most = self.bounds.entries;
            let message = format!("`{}` has more than {most} entries", self.root.display());
            return Err(Error::new(Code::TooLarge, message).hint("raise `entries`"));
        }
        match FileType::from_raw_mode(found.stat.st_mode) {
            FileType::Directory => {
                let mut header = header_of(&found.stat, tar::EntryType::Directory, 0);
                let mut path = found.path.to_vec();
                path.push(b'/');
                self.append(&mut header, &path, io::empty())
            }
            FileType::RegularFile => self.add_file(found),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(found.above, found.name, Vec::new());
                match target {
                    Ok(target) => self.add_link(found, tar::EntryType::Symlink, target.to_bytes()),
                    Err(Errno::NOENT | Errno::INVAL) => self.vanished(found),
                    Err(errno) => Err(failed("read", &shown(self.root, found.path), errno)),
                }
            }
            _ => {
                self.end.entries -= 1;
                self.end.skipped += 1;
                Ok(())
            }
        }
    }

    fn vanished(&mut self, found: &Found<'_>) -> Result<()> {
        self.end.entries -= 1;
        self.changed(&shown(self.root, found.path))
    }

    /// Something is not as it was a moment ago.
    fn changed(&mut self, path: &Path) -> Result<()> {
        self.end.changed += 1;
        if !self.still {
            return Ok(());
        }
        let message = format!("`{}` changed while it was packed", path.display());
        Err(Error::new(Code::FileFailed, message)
            .because("somebody writes to it, and the snapshot was to be of something that rests")
            .hint("stop whoever writes there, or take it without `still`")
            .retryable())
    }

    fn add_link(&mut self, found: &Found<'_>, kind: tar::EntryType, target: &[u8]) -> Result<()> {
        let mut header = header_of(&found.stat, kind, 0);
        let linked = if target.len() < LONGEST_LINK {
            header.set_link_name_literal(target)
        } else {
            self.long_link(target)
        };
        linked.map_err(|error| unwritten(self.root, &error))?;
        self.append(&mut header, found.path, io::empty())
    }

    /// What GNU tar writes before an entry whose link goes further than fits.
    fn long_link(&mut self, target: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        const NAME: &[u8] = b"././@LongLink";
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.name[..NAME.len()].copy_from_slice(NAME);
        }
        header.set_entry_type(tar::EntryType::GNULongLink);
        header.set_size(target.len() as u64 + 1);
        header.set_cksum();
        self.builder.append(&header, target.chain(&[0u8][..]))
    }

    fn add_file(&mut self, found: &Found<'_>) -> Result<()> {
        let key = (found.stat.st_dev, found.stat.st_ino);
        if found.stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&key).cloned() {
                return self.add_link(found, tar::EntryType::Link, &first);
            }
            self.linked.insert(key, found.path.to_vec());
        }
        let path = shown(self.root, found.path);
        // Without NONBLOCK opening a pipe that took the file's place would hang.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(found.above, found.name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::LOOP) => return self.vanished(found),
            Err(errno) => return Err(failed("read", &path, errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed("read", &path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return self.vanished(found);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.end.bytes = self.end.bytes.saturating_add(size);
        if self.end.bytes > self.bounds.bytes {
            let message = format!("`{}` holds more than {}", self.root.display(), Size(self.bounds.bytes));
            return Err(Error::new(Code::TooLarge, message).hint("raise `limit` if the size is expected"));
        }
        let mut header = header_of(&stat, tar::EntryType::Regular, size);
        let mut exact = Exact { file: &file, left: size, is_short: false };
        self.append(&mut header, found.path, &mut exact)?;
        let now = rustix::fs::fstat(&file).map_err(|errno| failed("read", &path, errno))?;
        let moved = (now.st_size, now.st_mtime, now.st_mtime_nsec)
            != (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if moved || exact.is_short { self.changed(&path) } else { Ok(()) }
    }

    fn append(&mut self, header: &mut tar::Header, path: &[u8], content: impl Read) -> Result<()> {
        use std::os::unix::ffi::OsStrExt as _;
        let name = Path::new(std::ffi::OsStr::from_bytes(path));
        // Large pieces: each goes through the compressor's own copy.
        let mut content = Pieces { content, buffer: std::mem::take(&mut self.buffer), range: 0..0 };
        let appended = self.builder.append_data(header, name, &mut content);
        self.buffer = content.buffer;
        appended.map_err(|error| unwritten(self.root, &error))
    }
}

fn header_of(stat: &Stat, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(size);
    header
}

/// Reads exactly as much of a file as was announced: what it grows meanwhile is not read, and what it has lost is zeros.
struct Exact<'a> {
    file: &'a File,
    left: u64,
    is_short: bool,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let mut count = if self.is_short { 0 } else { self.file.read(&mut buffer[..most])? };
        if count == 0 {
            self.is_short = true;
            buffer[..most].fill(0);
            count = most;
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Hands a content on in pieces of the size of its buffer, whatever the reader asks for.
struct Pieces<R> {
    content: R,
    buffer: Vec<u8>,
    range: std::ops::Range<usize>,
}

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.range.is_empty() {
            self.range = 0..self.content.read(&mut self.buffer)?;
        }
        let count = self.range.len().min(target.len());
        target[..count].copy_from_slice(&self.buffer[self.range.start..self.range.start + count]);
        self.range.start += count;
        Ok(count)
    }
}
