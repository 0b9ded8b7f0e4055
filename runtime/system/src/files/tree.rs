//! Owns the state of a tree of files: what `files.sync` and `files.extract` compare, bring about and keep for undo. Leaves
//! single files to [`super::object`].

pub(super) mod back;
mod difference;
mod folder;
mod wanted;
mod writer;

use std::borrow::Cow;
use std::collections::BTreeMap;

use effect::{Code, Error, Hidden, Result, Sealer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::object::Kind;

pub(super) use difference::{Difference, Rules};
pub(super) use folder::{Excludes, Folder, too_many, with_planned};
pub(super) use wanted::{Collector, Wanted};
pub(super) use writer::Writer;

/// How much of a tree's old content is kept for undo, each file at most [`super::object::RESTORABLE`].
const RESTORABLE: u64 = 8 << 20;
/// A tree with more entries is beyond what one effect does, whatever a call allows.
pub(super) const MOST_ENTRIES: u32 = 100_000;
/// A longer path within a tree is refused.
pub(super) const LONGEST_NAME: usize = 1024;

/// A tree of files as it was found or will be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Tree {
    /// The absolute path of its folder.
    pub path: String,
    /// How many files it has, of those that the effect is about.
    pub files: u64,
    /// How many folders.
    pub folders: u64,
    /// The size of all its files in bytes.
    pub size: u64,
    /// Keyed hash over names, contents and modes: equal for equal trees on this node.
    pub hash: String,
    /// Every entry, the content that a change replaces, and the names of what is not there, sealed, where they may have to be
    /// restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Hidden>,
    /// Whether it was not there at all: then this says what undo takes away, and the corridor tells it to nobody.
    #[serde(rename = "$absent", default, skip_serializing_if = "is_false")]
    #[schemars(skip)]
    pub absent: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// One file or folder of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// Permission bits; of a wanted entry `None` means: as it is, and the usual ones when it is new.
    pub(super) mode: Option<u32>,
    /// User and group by number; of a wanted entry as it is unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    pub(super) size: u64,
    /// Keyed hash of a file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<String>,
    /// The content of a file, or where a link leads, as far as it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "encoded")]
    pub(super) content: Option<Vec<u8>>,
}

/// Every entry of a tree by its path within it: folders before what lies in them.
pub(super) type Listing = BTreeMap<String, Entry>;

impl Entry {
    pub(super) fn folder(mode: Option<u32>) -> Self {
        Self { kind: Kind::Directory, mode, owner: None, size: 0, hash: None, content: None }
    }

    /// The permission bits of a new object.
    pub(super) fn new_mode(&self) -> u32 {
        self.mode.unwrap_or(if self.kind == Kind::Directory { 0o755 } else { 0o644 })
    }
}

impl Tree {
    /// The summary of `listing`.
    pub(super) fn of(path: &std::path::Path, listing: &Listing, sealer: &Sealer) -> Self {
        let mut tagger = sealer.tagger();
        let (mut files, mut folders, mut size) = (0, 0, 0);
        for (name, entry) in listing {
            match entry.kind {
                Kind::Directory => folders += 1,
                _ => files += 1,
            }
            size += entry.size;
            let line = (name, entry.kind, entry.new_mode(), &entry.hash);
            tagger.update(format!("{line:?}\n").as_bytes());
        }
        let path = path.to_string_lossy().into_owned();
        Self { path, files, folders, size, hash: tagger.tag(), entries: None, absent: false }
    }

    /// The same with every entry sealed, and the names of what is not there: undo takes that away again.
    pub(super) fn with_entries<'n>(
        self,
        listing: &Listing,
        absent: impl Iterator<Item = &'n String>,
        sealer: &Sealer,
    ) -> Result<Self> {
        let kept = Kept { entries: Cow::Borrowed(listing), absent: absent.cloned().collect() };
        let text = serde_json::to_vec(&kept).map_err(|error| broken(&error))?;
        let packed = zstd::bulk::compress(&text, 1).map_err(|error| broken(&error))?;
        Ok(Self { entries: Some(sealer.hide(&packed)), ..self })
    }

    /// The entries that were sealed.
    pub(super) fn listing(&self, sealer: &Sealer) -> Result<Listing> {
        self.kept(sealer).map(|(entries, _)| entries)
    }

    /// The entries that were sealed, and the names of what was not there.
    pub(super) fn kept(&self, sealer: &Sealer) -> Result<(Listing, Vec<String>)> {
        let Some(hidden) = &self.entries else { return Ok((Listing::new(), Vec::new())) };
        let packed = sealer.open_hidden(hidden)?;
        let decoder = zstd::stream::read::Decoder::new(&**packed).map_err(|error| broken(&error))?;
        let kept: Kept<'_> =
            serde_json::from_reader(std::io::BufReader::new(decoder)).map_err(|error| broken(&error))?;
        Ok((kept.entries.into_owned(), kept.absent))
    }
}

/// What is sealed of a tree.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    entries: Cow<'a, Listing>,
    absent: Vec<String>,
}

fn broken(error: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Internal, "the entries of a tree cannot be kept").because(error)
}

/// Contents in JSON.
mod encoded {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        content: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match content {
            Some(bytes) => serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD_NO_PAD.decode(text).map_err(de::Error::custom)).transpose()
    }
}

/// How much content may still be kept.
pub(super) struct Budget(u64);

impl Budget {
    /// What is kept of one tree.
    pub(super) fn of_a_tree() -> Self {
        Self(RESTORABLE)
    }

    /// Whether `size` bytes are kept; they are then counted.
    pub(super) fn takes(&mut self, size: u64) -> bool {
        if size > super::object::RESTORABLE || size > self.0 {
            return false;
        }
        self.0 -= size;
        true
    }
}

/// Checks a path within a tree that came from outside and returns it without `.` and doubled slashes; empty for the tree's
/// own folder.
pub(super) fn clean_name(name: &[u8]) -> std::result::Result<String, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "is not UTF-8")?;
    if name.len() > LONGEST_NAME {
        return Err("has a name that is too long");
    }
    if name.starts_with('/') {
        return Err("is an absolute path");
    }
    if name.chars().any(char::is_control) {
        return Err("has control characters in its name");
    }
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("leaves its folder through `..`"),
            part if part.len() > 255 => return Err("has a name that is too long"),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// A name from outside for a message: short, and without what a terminal would obey.
pub(super) fn shown(name: &[u8]) -> String {
    let text: String =
        String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let short: String = text.chars().take(120).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_their_tree() {
        assert_eq!(clean_name(b"./a//b/./c/").unwrap(), "a/b/c");
        assert_eq!(clean_name(b"./").unwrap(), "");
        let long = "x".repeat(256);
        let deep = "d/".repeat(600);
        for bad in ["/etc/x", "..", "a/../b", "a\nb", "a\0b", long.as_str(), deep.as_str()] {
            assert!(clean_name(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(clean_name(b"a\xff").is_err());
    }

    #[test]
    fn a_sealed_listing_comes_back_whole() {
        let sealer = Sealer::ephemeral();
        let file = Entry {
            kind: Kind::File,
            mode: Some(0o640),
            owner: Some("0:0".into()),
            size: 3,
            hash: Some(sealer.tag(b"\xffab")),
            content: Some(b"\xffab".to_vec()),
        };
        let listing = Listing::from([("a".to_owned(), Entry::folder(None)), ("a/b".to_owned(), file)]);
        let tree = Tree::of(std::path::Path::new("/x"), &listing, &sealer);
        assert_eq!((tree.files, tree.folders, tree.size), (1, 1, 3));
        let absent = ["a/c".to_owned()];
        let sealed = tree.with_entries(&listing, absent.iter(), &sealer).unwrap();
        assert_eq!(sealed.listing(&sealer).unwrap(), listing);
    }
}
