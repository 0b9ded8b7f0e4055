//! Owns what of a state directory goes into a backup, brought to rest: a copy of the database as of one moment and of every
//! file that is kept, each with its sum, in a folder that only their owner may read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use journal::Journal;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::failed;
use super::manifest::{DATABASE, Kept, MOST_FILES, Rule, STAGE, rule};

/// The lock of whoever takes a backup.
const LOCK: &str = "backup.lock";
/// Deeper folders are nothing of ours.
const DEEPEST: usize = 8;

/// Files that nobody changes any more. Dropped, they are gone.
pub(super) struct Stage {
    folder: PathBuf,
    files: Vec<Kept>,
    _lock: File,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What stays is taken away by the next backup.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Stage {
    /// Brings the state directory of `journal` to rest.
    pub(super) async fn new(journal: &Journal) -> Result<Self> {
        let state = journal.folder().to_owned();
        let lock = take_turn(&state)?;
        let folder = state.join(STAGE);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("clear", &folder, &error));
            }
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| failed("make", &folder, &error))?;
        let mut stage = Self { folder, files: Vec::new(), _lock: lock };
        journal.copy_to(&stage.folder.join(DATABASE)).await?;
        crate::files::blocking(move || {
            stage.sum_database()?;
            stage.copy_beneath(&state, "", 0)?;
            stage.files.sort_by(|one, other| one.path.cmp(&other.path));
            Ok(stage)
        })
        .await
    }

    pub(super) fn files(&self) -> &[Kept] {
        &self.files
    }

    /// Where the copy of a file lies.
    pub(super) fn place(&self, path: &str) -> PathBuf {
        if path == DATABASE { self.folder.join(DATABASE) } else { self.folder.join("files").join(path) }
    }

    fn sum_database(&mut self) -> Result<()> {
        let path = self.place(DATABASE);
        let summed = || -> io::Result<(u64, String)> {
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            transfer(&mut File::open(&path)?, &mut io::sink())
        };
        let (size, sha256) = summed().map_err(|error| failed("read", &path, &error))?;
        self.files.push(Kept { path: DATABASE.to_owned(), size, mode: 0o600, sha256 });
        Ok(())
    }

    fn copy_beneath(&mut self, state: &Path, within: &str, depth: usize) -> Result<()> {
        let folder = state.join(within);
        let entries = fs::read_dir(&folder).map_err(|error| failed("list", &folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", &folder, &error))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let path = if within.is_empty() { name } else { format!("{within}/{name}") };
            let Ok(kind) = entry.file_type() else { continue };
            if rule(&path) == Rule::Leave || !(kind.is_dir() || kind.is_file()) {
                continue;
            }
            if kind.is_dir() && depth < DEEPEST {
                self.copy_beneath(state, &path, depth + 1)?;
            } else if kind.is_file() {
                self.copy(state, path)?;
            }
            if self.files.len() > MOST_FILES {
                let message = format!("`{}` has more than {MOST_FILES} files", state.display());
                return Err(Error::new(Code::TooLarge, message));
            }
        }
        Ok(())
    }

    fn copy(&mut self, state: &Path, path: String) -> Result<()> {
        let (from, to) = (state.join(&path), self.place(&path));
        let above = to.parent().unwrap_or(&self.folder);
        let make = DirBuilder::new().recursive(true).mode(0o700).create(above);
        make.map_err(|error| failed("make", above, &error))?;
        let mut source = match File::open(&from) {
            Ok(source) => source,
            // It was there a moment ago: its owner has put another in its place, or taken it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read", &from, &error)),
        };
        let mode =
            source.metadata().map_err(|error| failed("read", &from, &error))?.permissions().mode() & 0o777;
        let mut copy = || -> io::Result<(u64, String)> {
            let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to)?;
            transfer(&mut source, &mut target)
        };
        let (size, sha256) = copy().map_err(|error| failed("copy", &from, &error))?;
        self.files.push(Kept { path, size, mode, sha256 });
        Ok(())
    }
}

/// Copies everything, and tells size and sum.
pub(super) fn transfer(source: &mut impl Read, target: &mut impl Write) -> io::Result<(u64, String)> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 128 * 1024]);
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            return Ok((size, hexadecimal(&hash.finalize())));
        }
        hash.update(&buffer[..count]);
        target.write_all(&buffer[..count])?;
        size += count as u64;
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One backup at a time: two would clear each other's copies away.
fn take_turn(state: &Path) -> Result<File> {
    let path = state.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|error| failed("open", &path, &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            Err(Error::new(Code::Locked, "another backup of this state directory is being taken").retryable())
        }
        Err(errno) => Err(failed("lock", &path, &errno.into())),
    }
}
