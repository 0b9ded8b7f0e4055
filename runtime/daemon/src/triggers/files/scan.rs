//! Owns what the files of a trigger are: which, and what tells one state of them from another.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::Metadata;
use std::hash::{Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use crate::playbooks::OnFile;

/// Files of one trigger.
const MOST_FILES: usize = 10_000;
/// How many are told apart; of more it is only known that one has changed.
const MOST_TOLD_APART: usize = 2000;
const DEEPEST: usize = 16;

/// What files are: for each what changes with its content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Print(BTreeMap<String, String>);

impl Print {
    /// What tells it from others.
    pub(super) fn mark(&self) -> String {
        let mut all = DefaultHasher::new();
        self.0.hash(&mut all);
        format!("{:016x}", all.finish())
    }

    /// The paths that are not what they were.
    pub(super) fn differences(&self, before: &Self) -> Vec<String> {
        let is_other = |path: &&String| self.0.get(*path) != before.0.get(*path);
        let mut paths: Vec<String> = self
            .0
            .keys()
            .chain(before.0.keys())
            .filter(is_other)
            .filter(|path| !path.is_empty())
            .cloned()
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

/// Whether a change at `path` can be one of the trigger's files.
pub(super) fn concerns(on: &OnFile, path: &Path) -> bool {
    // The folder itself, what lies in it, and what it lies in: that may have been put in its place.
    path.starts_with(&on.path) || on.path.starts_with(path) || on.path.parent() == path.parent()
}

/// What the trigger's files are now.
pub(super) async fn scan(on: &OnFile) -> Result<Print> {
    let path = on.path.clone();
    let looking = tokio::task::spawn_blocking(move || look(&path)).await;
    looking.unwrap_or_else(|error| Err(Error::ended("a folder cannot be read", &error)))
}

fn look(path: &Path) -> Result<Print> {
    let mut found = BTreeMap::new();
    match pattern(path) {
        Some((folder, matcher)) => {
            each(&folder, |name, entry| {
                if matcher.is_match(name)
                    && let Ok(metadata) = std::fs::metadata(entry)
                    && metadata.is_file()
                {
                    note(&mut found, entry, &metadata)?;
                }
                Ok(())
            })?;
        }
        // What is not there has no files.
        None => match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => beneath(path, 0, &mut found)?,
            Ok(metadata) => note(&mut found, path, &metadata)?,
            Err(_) => {}
        },
    }
    if found.len() <= MOST_TOLD_APART {
        return Ok(Print(found));
    }
    let many = Print(found);
    Ok(Print(BTreeMap::from([(String::new(), many.mark())])))
}

fn beneath(folder: &Path, depth: usize, found: &mut BTreeMap<String, String>) -> Result<()> {
    each(folder, |_, entry| {
        // A link to a folder is not followed: it may lead back.
        let Ok(metadata) = std::fs::symlink_metadata(entry) else { return Ok(()) };
        if metadata.is_dir() {
            if depth < DEEPEST { beneath(entry, depth + 1, found) } else { Ok(()) }
        } else {
            let metadata = std::fs::metadata(entry).unwrap_or(metadata);
            note(found, entry, &metadata)
        }
    })
}

/// Calls `one` for each entry of a folder. One that cannot be read is empty.
fn each(folder: &Path, mut one: impl FnMut(&str, &Path) -> Result<()>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        // A name that is no text cannot be told of.
        if let Some(name) = entry.file_name().to_str() {
            one(name, &entry.path())?;
        }
    }
    Ok(())
}

fn note(found: &mut BTreeMap<String, String>, path: &Path, metadata: &Metadata) -> Result<()> {
    if found.len() >= MOST_FILES {
        return Err(Error::new(Code::FileWatch, format!("there are more than {MOST_FILES} files"))
            .hint("watch a smaller folder, or a pattern"));
    }
    let print = format!(
        "{:x}.{:x}.{:x}.{:x}",
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    if let Some(path) = path.to_str() {
        found.insert(path.to_owned(), print);
    }
    Ok(())
}

/// The folder and the pattern of names in it, where the last part of the path is one.
fn pattern(path: &Path) -> Option<(PathBuf, GlobMatcher)> {
    let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
    if !name.contains(['*', '?', '[', '{']) {
        return None;
    }
    let glob = GlobBuilder::new(name).literal_separator(true).build().ok()?;
    Some((folder.to_owned(), glob.compile_matcher()))
}

/// The folders that are watched for it: what it is in, and itself where it is one.
pub(super) fn folders(on: &OnFile) -> (PathBuf, Option<PathBuf>) {
    let above = on.path.ancestors().skip(1).find(|folder| folder.is_dir());
    let above = above.unwrap_or_else(|| Path::new("/")).to_owned();
    let own = (pattern(&on.path).is_none() && on.path.is_dir()).then(|| on.path.clone());
    (above, own)
}

/// Whether what a trigger names can be looked for now: the folder that it is in is there.
pub(super) fn is_there(on: &OnFile) -> bool {
    on.path.parent().is_none_or(Path::is_dir)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn on(path: PathBuf) -> OnFile {
        OnFile { path, settle: Duration::ZERO }
    }

    #[tokio::test]
    async fn of_many_files_it_is_known_that_one_has_changed_and_of_too_many_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MOST_TOLD_APART {
            std::fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        let on = on(folder.path().to_owned());
        let before = scan(&on).await.unwrap();
        std::fs::write(folder.path().join("7"), "more").unwrap();
        let after = scan(&on).await.unwrap();
        assert_ne!(before, after);
        assert!(after.differences(&before).is_empty());
        for number in MOST_TOLD_APART..=MOST_FILES {
            std::fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(scan(&on).await.unwrap_err().code, Code::FileWatch);
    }

    #[tokio::test]
    async fn a_folder_that_leads_back_to_itself_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(scan(&on(folder.path().to_owned())).await.unwrap().0.len(), 2);
    }
}
