//! Owns how a folder becomes an archive: the same files make the same bytes, streamed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use effect::secret::Tagger;
use effect::{Code, Context, Error, Result};
use rustix::fs::Stat;

use super::super::object::{Kind, RESTORABLE, kind_of};
use super::super::tree::{Entry, Folder, Listing};

/// How an archive is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    /// The level of zstd; plain `tar` without.
    level: Option<i32>,
    mtime: u64,
}

/// What an archive is.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) size: u64,
    pub(super) hash: String,
    /// Its bytes, where a plan's later effects may ask for them.
    pub(super) content: Option<Vec<u8>>,
}

impl Format {
    /// The format that the name of an archive tells.
    pub(super) fn of(path: &Path, level: i32, mtime: u64) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.ends_with(".tar.zst") {
            Ok(Self { level: Some(level), mtime })
        } else if name.ends_with(".tar") {
            Ok(Self { level: None, mtime })
        } else {
            let message = format!("`files.archive`: `{name}` ends in neither `.tar.zst` nor `.tar`");
            Err(Error::new(Code::Argument, message))
        }
    }
}

/// What is packed of something that was found; its content is read later.
pub(super) fn entry(stat: &Stat) -> Entry {
    let kind = kind_of(stat);
    let size = if kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
    Entry { kind, mode: Some(stat.st_mode & 0o777), owner: None, size, hash: None, content: None }
}

/// Packs into nothing, for size and hash.
pub(super) fn foresee(
    folder: Option<&Folder>,
    listing: &Listing,
    format: Format,
    context: &Context,
) -> Result<Packed> {
    let held = context.planning().then(Vec::new);
    pack(io::sink(), held, folder, listing, format, context)
}

/// Packs into `file`.
pub(super) fn write(
    file: &mut File,
    folder: Option<&Folder>,
    listing: &Listing,
    format: Format,
    context: &Context,
) -> Result<Packed> {
    pack(file, None, folder, listing, format, context)
}

fn pack(
    sink: impl Write,
    held: Option<Vec<u8>>,
    folder: Option<&Folder>,
    listing: &Listing,
    format: Format,
    context: &Context,
) -> Result<Packed> {
    let failed = |error: io::Error| {
        let message = match folder {
            Some(folder) => format!("`{}` cannot be packed", folder.path.display()),
            None => "the folder cannot be packed".to_owned(),
        };
        let error =
            super::refusal(&error).unwrap_or_else(|| Error::new(Code::FileFailed, message).because(&error));
        match error.cause.as_deref() {
            Some(cause) if cause.contains("No space left") => error.hint("free some space").retryable(),
            _ => error,
        }
    };
    let counted = Counted { sink, tagger: context.sealer.tagger(), size: 0, held };
    let counted = match format.level {
        None => pack_tar(counted, folder, listing, format, context).map_err(failed)?,
        Some(level) => {
            let mut encoder = zstd::stream::write::Encoder::new(counted, level).map_err(failed)?;
            encoder.include_checksum(true).map_err(failed)?;
            let encoder = pack_tar(encoder, folder, listing, format, context).map_err(failed)?;
            encoder.finish().map_err(failed)?
        }
    };
    Ok(Packed { size: counted.size, hash: counted.tagger.tag(), content: counted.held })
}

fn pack_tar<W: Write>(
    sink: W,
    folder: Option<&Folder>,
    listing: &Listing,
    format: Format,
    context: &Context,
) -> io::Result<W> {
    let mut builder = tar::Builder::new(sink);
    for (name, entry) in listing {
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.new_mode() & 0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(format.mtime);
        header.set_size(entry.size);
        match (entry.kind, &entry.content, folder) {
            (Kind::Directory, _, _) => {
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, format!("{name}/"), io::empty())?;
            }
            (_, Some(content), _) => builder.append_data(&mut header, name, content.as_slice())?,
            (_, None, Some(folder)) => {
                let (file, _) = folder.read(name).map_err(super::read::refused)?;
                let exact = Exact { file, left: entry.size, path: folder.path_of(name) };
                builder.append_data(&mut header, name, exact)?;
            }
            (_, None, None) => return Err(super::read::refused(gone(context, name))),
        }
    }
    builder.into_inner()
}

fn gone(_: &Context, name: &str) -> Error {
    Error::new(Code::FileFailed, format!("`{name}` is gone"))
}

/// Reads exactly as much of a file as was announced: a header with another size would break what follows.
struct Exact {
    file: File,
    left: u64,
    path: std::path::PathBuf,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 {
            let message = format!("`{}` became shorter while it was packed", self.path.display());
            let error = Error::new(Code::FileFailed, message).hint("run again").retryable();
            return Err(super::read::refused(error));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Counts and hashes what passes, and holds it while it is small.
struct Counted<W> {
    sink: W,
    tagger: Tagger,
    size: u64,
    held: Option<Vec<u8>>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.tagger.update(&bytes[..count]);
        self.size += count as u64;
        if self.size > RESTORABLE {
            self.held = None;
        }
        if let Some(held) = &mut self.held {
            held.extend_from_slice(&bytes[..count]);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
