//! Owns what lies in a folder of playbooks: which of its files count, where each really lies, and what it holds.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use effect::{Code, Error, Result};
use rustix::fs::OFlags;

/// The longest text of a file, as for any other source.
pub(super) const LONGEST: u64 = 256 << 10;
/// How often a file that changes while it is read is read again.
const ATTEMPTS: u32 = 20;
/// What `require` may mean by a path, in the order in which it is tried.
const ENDINGS: [&str; 4] = [".luau", ".lua", "/init.luau", "/init.lua"];
/// How far the folders beneath one are walked.
const DEEPEST: usize = 8;
const MOST_FOLDERS: usize = 512;
const MOST_FILES: usize = 10_000;

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What tells one folder from another that takes its place. Its number alone does not: the next one may get it again.
pub(crate) type Identity = (u64, u64, Option<SystemTime>);

/// The identity of a folder that is there.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.created().ok()))
}

/// Whether a file of this name may hold a playbook: not what editors leave beside the files that they save, nor tests.
fn counts(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".luau").or_else(|| name.strip_suffix(".lua")) else { return false };
    !(stem.is_empty() || stem.starts_with(['.', '#']) || stem.ends_with(".test") || stem.ends_with(".d"))
}

/// The files directly in a folder that may hold playbooks, at most `most`, and whether each is a link.
///
/// # Errors
/// `MC-L006` where it cannot be read, `MC-L021` where it holds more.
pub fn list(folder: &Path, most: usize) -> Result<BTreeMap<PathBuf, bool>> {
    let shown = folder.display();
    let failed = |error: io::Error| {
        Error::new(Code::PlaybookFolder, format!("the folder `{shown}` cannot be read"))
            .because(error)
            .retryable()
    };
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // The folder itself tells: nothing is asked of each file.
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() || !entry.file_name().to_str().is_some_and(counts) {
            continue;
        }
        if files.len() == most {
            let message = format!("the folder `{shown}` holds more than {most} files of playbooks");
            return Err(Error::new(Code::PlaybookMany, message));
        }
        files.insert(entry.path(), kind.is_symlink());
    }
    Ok(files)
}

/// What a file held when it was read.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// Its text, or why there is none.
    pub(super) text: Result<Arc<str>>,
    /// What tells this state without reading it.
    pub(super) stamp: Option<Stamp>,
    /// Whether it did not change meanwhile.
    pub(super) is_stable: bool,
}

/// Reads a file, which is no link, until it holds still: for `gap` afterwards, where one is given.
pub(super) fn read(path: &Path, gap: Option<Duration>) -> Held {
    let mut held = attempt(path, gap);
    for _ in 1..ATTEMPTS {
        if held.is_stable {
            break;
        }
        held = attempt(path, gap);
    }
    held
}

fn attempt(path: &Path, gap: Option<Duration>) -> Held {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(Code::Unreadable, format!("`{}` cannot be read", path.display())).because(error)
    };
    let nothing = |error: Error| Held { text: Err(error), stamp: None, is_stable: true };
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let (file, before) = match opened.and_then(|file| file.metadata().map(|metadata| (file, metadata))) {
        Ok(opened) => opened,
        Err(error) => return nothing(failed(&error)),
    };
    if !before.is_file() {
        return nothing(failed(&"it is not a regular file"));
    }
    let stamp = Stamp::of(&before);
    match bytes(&file) {
        Err(error) => nothing(failed(&error)),
        Ok(bytes) if bytes.len() as u64 > LONGEST => {
            let message = format!("`{}` is longer than {LONGEST} bytes", path.display());
            let error = Error::new(Code::LimitSource, message).hint("split it into modules");
            Held { text: Err(error), stamp: Some(stamp), is_stable: true }
        }
        Ok(bytes) => {
            let is_whole = bytes.len() as u64 == stamp.size;
            let text = String::from_utf8(bytes).map(Arc::from).map_err(|_| failed(&"it is not UTF-8 text"));
            gap.into_iter().for_each(std::thread::sleep);
            // By its path: another file may have taken its place.
            let is_same = fs::symlink_metadata(path).is_ok_and(|after| Stamp::of(&after) == stamp);
            Held { text, stamp: Some(stamp), is_stable: is_whole && is_same }
        }
    }
}

fn bytes(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files that come before the module `name` where `require` looks for it: if one appears, it is meant from then on.
pub(super) fn before(name: &str) -> Vec<String> {
    let parts = ENDINGS.iter().enumerate().rev();
    let found = parts.filter_map(|(index, ending)| Some((index, name.strip_suffix(ending)?))).next();
    let Some((index, base)) = found else { return Vec::new() };
    ENDINGS[..index].iter().map(|ending| format!("{base}{ending}")).collect()
}

/// The folders beneath one, itself first, as far as it makes sense.
pub(super) fn folders(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![(root.to_owned(), 0)];
    let mut next = 0;
    while let Some((folder, depth)) = found.get(next).cloned() {
        next += 1;
        for entry in entries(&folder) {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && depth < DEEPEST && found.len() < MOST_FOLDERS {
                found.push((entry.path(), depth + 1));
            }
        }
    }
    found.into_iter().map(|(folder, _)| folder).collect()
}

/// What tells whether any source in these folders has changed.
pub(super) fn print(folders: &[PathBuf]) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let sources = folders.iter().flat_map(|folder| entries(folder)).filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.ends_with(".lua") || name.ends_with(".luau"))
    });
    // Their order does not count.
    sources.take(MOST_FILES).fold(0, |print: u64, entry| {
        let mut hasher = DefaultHasher::new();
        (entry.path(), entry.metadata().ok().as_ref().map(Stamp::of)).hash(&mut hasher);
        print.wrapping_add(hasher.finish())
    })
}

/// What lies in a folder and is not hidden.
fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| !name.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_editors_leave_behind_is_no_playbook() {
        for name in ["deploy.lua", "deploy.luau", "a.b.lua", "Überblick.lua"] {
            assert!(counts(name), "{name}");
        }
        for name in [
            "4913",
            ".deploy.lua.swp",
            "deploy.lua~",
            ".#deploy.lua",
            "#deploy.lua#",
            ".deploy.lua.kate-swp",
            ".lua",
            "deploy.lua.bak",
            "sedXyZ12",
            "deploy.test.lua",
            "mcrun.d.luau",
            ".goutputstream-X1",
            "#x.lua",
            "x.lua.orig",
        ] {
            assert!(!counts(name), "{name}");
        }
    }

    #[test]
    fn what_would_be_meant_in_a_modules_place_is_known() {
        assert_eq!(before("lib/a.luau"), Vec::<String>::new());
        assert_eq!(before("lib/a.lua"), ["lib/a.luau"]);
        assert_eq!(before("a/init.lua"), ["a.luau", "a.lua", "a/init.luau"]);
    }

    #[test]
    fn what_holds_no_text_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("large"), vec![b' '; 256 * 1024 + 1]).unwrap();
        fs::write(at("bytes"), [0xff, 0xfe]).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
            .unwrap();
        std::os::unix::fs::symlink("bytes", at("link")).unwrap();
        for (name, code) in [
            ("large", Code::LimitSource),
            ("bytes", Code::Unreadable),
            ("fifo", Code::Unreadable),
            ("link", Code::Unreadable),
            ("missing", Code::Unreadable),
        ] {
            assert_eq!(read(&at(name), None).text.unwrap_err().code, code, "{name}");
        }
    }

    #[test]
    fn more_files_than_are_looked_after_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..4 {
            fs::write(folder.path().join(format!("{number}.lua")), "").unwrap();
        }
        assert_eq!(list(folder.path(), 4).unwrap().len(), 4);
        assert_eq!(list(folder.path(), 3).unwrap_err().code, Code::PlaybookMany);
        assert_eq!(list(&folder.path().join("none"), 3).unwrap_err().code, Code::PlaybookFolder);
    }
}
