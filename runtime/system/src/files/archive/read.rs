//! Owns how an archive that somebody else made is read: streamed, within bounds, and nothing of it trusted.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use effect::units::Size;
use effect::{Code, Error, Result, Sealer};
use rustix::fs::OFlags;
use tar::EntryType;

use super::super::object::{self, Kind};
use super::super::tree::{MOST_ENTRIES, clean_name, shown};

/// What tar puts around names that do not fit its header; longer ones are an attack.
const LONGEST_EXTENSION: u64 = 64 * 1024;
/// How much memory zstd may take for its window: 128 MiB, what `zstd` itself accepts.
const LARGEST_WINDOW: u32 = 27;
/// Below this an archive may grow as it likes.
const FREE_GROWTH: u64 = 1 << 20;

/// How much an archive may hold.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Bounds {
    pub(in super::super) limit: Size,
    pub(in super::super) entries: u32,
    pub(in super::super) ratio: u32,
}

/// An archive, opened.
pub(in super::super) struct Reader {
    archive: tar::Archive<Box<dyn Read>>,
    path: PathBuf,
    bounds: Bounds,
}

/// One file or folder of an archive.
pub(in super::super) struct Item<'a, 'b> {
    /// Its path, checked, without `.`.
    pub(in super::super) name: &'a str,
    /// Its permission bits.
    pub(in super::super) mode: Option<u32>,
    pub(in super::super) size: u64,
    /// The content of a file.
    pub(in super::super) content: Option<&'a mut Content<'b>>,
    path: &'a Path,
}

/// The content of one file.
pub(in super::super) struct Content<'a>(tar::Entry<'a, Box<dyn Read>>, PathBuf);

impl Item<'_, '_> {
    pub(in super::super) fn refuse(&self, why: &str) -> Error {
        refuse(self.path, self.name.as_bytes(), why)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match refusal(&error) {
            Some(_) => error,
            None => refused(broken(&self.1, &error)),
        })
    }
}

impl Content<'_> {
    /// Its keyed hash, and itself where it is to be kept.
    pub(in super::super) fn hash(
        &mut self,
        sealer: &Sealer,
        keeps: bool,
    ) -> Result<(String, Option<Vec<u8>>)> {
        let mut tagger = sealer.tagger();
        let mut held = keeps.then(Vec::new);
        let mut buffer = vec![0; 64 * 1024];
        let mut size = 0;
        loop {
            let count = self.read(&mut buffer).map_err(|error| broken_or_refused(&self.1, &error))?;
            if count == 0 {
                break;
            }
            size += count as u64;
            tagger.update(&buffer[..count]);
            if let Some(held) = &mut held {
                held.extend_from_slice(&buffer[..count]);
            }
        }
        if size != self.0.size() {
            return Err(broken(&self.1, &"it ends in the middle of a file"));
        }
        Ok((tagger.tag(), held))
    }
}

impl Reader {
    /// Opens the archive at `path`.
    pub(in super::super) fn open(path: &Path, bounds: Bounds) -> Result<Self> {
        let Some((place, stat)) = object::look(path)? else {
            return Err(Error::new(Code::FileFailed, format!("there is no archive `{}`", path.display())));
        };
        if object::kind_of(&stat) != Kind::File {
            return Err(object::refuse_kind(path, object::kind_of(&stat)));
        }
        let fd =
            place.open_it(OFlags::RDONLY | OFlags::NONBLOCK).map_err(|errno| place.failed("read", errno))?;
        Self::of(File::from(fd), path, bounds)
    }

    /// Reads one from memory.
    pub(in super::super) fn of_bytes(bytes: Vec<u8>, path: &Path, bounds: Bounds) -> Result<Self> {
        Self::of(Cursor::new(bytes), path, bounds)
    }

    fn of(source: impl Read + 'static, path: &Path, bounds: Bounds) -> Result<Self> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut source = Metered { source, taken: taken.clone() };
        let mut start = [0; 4];
        let mut length = 0;
        while length < start.len() {
            match source.read(&mut start[length..]).map_err(|error| broken(path, &error))? {
                0 => break,
                count => length += count,
            }
        }
        let source = Cursor::new(start[..length].to_vec()).chain(source);
        let plain: Box<dyn Read> = match start {
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let mut decoder =
                    zstd::stream::read::Decoder::new(source).map_err(|error| broken(path, &error))?;
                decoder.window_log_max(LARGEST_WINDOW).map_err(|error| broken(path, &error))?;
                Box::new(decoder)
            }
            [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(source))),
            _ => Box::new(BufReader::new(source)),
        };
        // Headers and padding are a part of what comes out: at most three blocks for each entry and its long name.
        let most =
            bounds.limit.0.saturating_add(u64::from(bounds.entries.min(MOST_ENTRIES)) * 4096 + (1 << 20));
        let bounded =
            Bounded { plain, taken, given: 0, most, ratio: bounds.ratio.into(), path: path.to_owned() };
        Ok(Self { archive: tar::Archive::new(Box::new(bounded)), path: path.to_owned(), bounds })
    }

    /// Hands every file and folder to `take`, in the order of the archive.
    pub(in super::super) fn each(&mut self, mut take: impl FnMut(Item<'_, '_>) -> Result<()>) -> Result<()> {
        let path = self.path.clone();
        let mut names = Names::default();
        let mut count = 0;
        // Raw: the crate would hold extensions of any length in memory.
        let entries = self.archive.entries().map_err(|error| broken(&path, &error))?.raw(true);
        for entry in entries {
            let mut entry = entry.map_err(|error| broken_or_refused(&path, &error))?;
            if names.take(&mut entry, &path)? {
                continue;
            }
            count += 1;
            if count > self.bounds.entries.min(MOST_ENTRIES) {
                return Err(super::super::tree::too_many(&path, self.bounds.entries));
            }
            let raw = names.name_of(&entry, &path)?;
            let header = entry.header();
            let mode = header.mode().map_err(|error| broken(&path, &error))?;
            let is_folder =
                kind(header.entry_type(), &raw, entry.size()).map_err(|why| refuse(&path, &raw, why))?;
            let name = clean_name(&raw).map_err(|why| refuse(&path, &raw, why))?;
            if name.is_empty() {
                if is_folder {
                    continue;
                }
                return Err(refuse(&path, &raw, "has no name"));
            }
            if !is_folder && mode & 0o6000 != 0 {
                return Err(refuse(&path, &raw, "is a setuid or setgid file"));
            }
            let size = if is_folder { 0 } else { entry.size() };
            let mut content = Content(entry, path.clone());
            take(Item {
                name: &name,
                mode: Some(mode & 0o777),
                size,
                content: (!is_folder).then_some(&mut content),
                path: &path,
            })?;
        }
        names.check_end(&path)
    }
}

/// Whether an entry is a folder; files are the only other thing that is taken.
fn kind(kind: EntryType, name: &[u8], size: u64) -> Result<bool, &'static str> {
    match kind {
        EntryType::Directory if size > 0 => Err("is a folder with content"),
        EntryType::Directory => Ok(true),
        // Archives from before folders had a type.
        EntryType::Regular if name.ends_with(b"/") && size == 0 => Ok(true),
        EntryType::Regular | EntryType::Continuous => Ok(false),
        EntryType::Symlink => Err("is a symbolic link"),
        EntryType::Link => Err("is a hard link"),
        EntryType::Char | EntryType::Block => Err("is a device"),
        EntryType::Fifo => Err("is a pipe"),
        EntryType::GNUSparse => Err("is a sparse file"),
        _ => Err("is of a kind that is not known"),
    }
}

/// Names that did not fit an entry's own header.
#[derive(Default)]
struct Names {
    long: Option<Vec<u8>>,
    extended: Option<Vec<u8>>,
}

impl Names {
    /// Takes an entry that only describes the next one.
    fn take(&mut self, entry: &mut tar::Entry<'_, Box<dyn Read>>, path: &Path) -> Result<bool> {
        let slot = match entry.header().entry_type() {
            EntryType::GNULongName => &mut self.long,
            EntryType::XHeader => &mut self.extended,
            // Links are refused anyway, and what counts for all entries has nothing that we take.
            EntryType::GNULongLink | EntryType::XGlobalHeader if entry.size() <= LONGEST_EXTENSION => {
                return Ok(true);
            }
            EntryType::GNULongLink | EntryType::XGlobalHeader => {
                return Err(refuse(path, b"", "is described at great length"));
            }
            _ => return Ok(false),
        };
        if entry.size() > LONGEST_EXTENSION {
            return Err(refuse(path, b"", "is described at great length"));
        }
        if slot.is_some() {
            return Err(refuse(path, b"", "is described twice"));
        }
        let mut text = Vec::new();
        entry.read_to_end(&mut text).map_err(|error| broken_or_refused(path, &error))?;
        *slot = Some(text);
        Ok(true)
    }

    /// The name of the entry that follows what was taken.
    fn name_of(&mut self, entry: &tar::Entry<'_, Box<dyn Read>>, path: &Path) -> Result<Vec<u8>> {
        let mut name = entry.path_bytes().into_owned();
        if let Some(mut long) = self.long.take() {
            while long.last() == Some(&0) {
                long.pop();
            }
            name = long;
        }
        for extension in tar::PaxExtensions::new(&self.extended.take().unwrap_or_default()) {
            let extension = extension.map_err(|error| broken(path, &error))?;
            match extension.key_bytes() {
                b"path" => name = extension.value_bytes().to_vec(),
                b"size" if extension.value_bytes() != entry.size().to_string().as_bytes() => {
                    return Err(refuse(path, &name, "has two sizes"));
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(refuse(path, &name, "is a sparse file"));
                }
                _ => {}
            }
        }
        Ok(name)
    }

    fn check_end(&self, path: &Path) -> Result<()> {
        match (&self.long, &self.extended) {
            (None, None) => Ok(()),
            _ => Err(broken(path, &"it ends after the name of a file")),
        }
    }
}

fn refuse(path: &Path, name: &[u8], why: &str) -> Error {
    let entry = if name.is_empty() { "an entry".to_owned() } else { format!("`{}`", shown(name)) };
    Error::new(Code::ArchiveRefused, format!("the archive `{}` is refused: {entry} {why}", path.display()))
        .hint("nothing was extracted; look where it comes from")
}

fn broken(path: &Path, cause: &dyn fmt::Display) -> Error {
    Error::new(Code::ArchiveBroken, format!("the archive `{}` cannot be read", path.display())).because(cause)
}

fn broken_or_refused(path: &Path, error: &io::Error) -> Error {
    refusal(error).unwrap_or_else(|| broken(path, error))
}

/// An error of ours on its way through readers of others.
#[derive(Debug)]
struct Refusal(Error);

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Refusal {}

pub(super) fn refused(error: Error) -> io::Error {
    io::Error::other(Refusal(error))
}

/// The error of ours that a reader has handed through.
pub(in super::super) fn refusal(error: &io::Error) -> Option<Error> {
    error.get_ref()?.downcast_ref::<Refusal>().map(|refusal| refusal.0.clone())
}

/// Counts what is read of the archive itself.
struct Metered<R> {
    source: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Stops an archive that grows beyond its bounds.
struct Bounded {
    plain: Box<dyn Read>,
    taken: Arc<AtomicU64>,
    given: u64,
    most: u64,
    ratio: u64,
    path: PathBuf,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        self.given += count as u64;
        let grown = self.taken.load(Ordering::Relaxed).saturating_mul(self.ratio).saturating_add(FREE_GROWTH);
        let (what, hint) = if self.given > self.most {
            ("holds more than its bounds".to_owned(), "raise `limit` or `entries` if the size is expected")
        } else if self.given > grown {
            (format!("grows to more than {} times its size", self.ratio), "raise `ratio` if it is no bomb")
        } else {
            return Ok(count);
        };
        let message = format!("the archive `{}` {what}", self.path.display());
        Err(refused(Error::new(Code::TooLarge, message).hint(hint)))
    }
}
