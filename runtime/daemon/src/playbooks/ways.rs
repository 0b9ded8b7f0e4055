//! Owns which folders are watched: where playbooks and their modules lie, where links lie that lead to them, and where a
//! folder that is missing would appear.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Folders, each with the names in it that count; every name where there are none.
pub(super) type Places = BTreeMap<PathBuf, Option<BTreeSet<OsString>>>;

/// Every name in `folder` counts.
pub(super) fn whole(places: &mut Places, folder: PathBuf) {
    places.insert(folder, None);
}

/// One name in `folder` counts.
fn one(places: &mut Places, folder: &Path, name: &OsStr) {
    if let Some(names) = places.entry(folder.to_owned()).or_insert_with(|| Some(BTreeSet::new())) {
        names.insert(name.to_owned());
    }
}

/// Adds what decides where `path` leads: every link on its way, and the first part that is missing or could be taken
/// away.
pub(super) fn way(places: &mut Places, path: &Path) {
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match fs::symlink_metadata(&next) {
            Ok(metadata) if metadata.is_symlink() && links < MOST_LINKS => {
                links += 1;
                one(places, &at, &part);
                let Ok(target) = fs::read_link(&next) else { return };
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
            }
            Ok(_) => {
                if rest.is_empty() {
                    one(places, &at, &part);
                }
                at = next;
            }
            Err(_) => return one(places, &at, &part),
        }
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_a_way_and_its_end_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(base.join("data-1")).unwrap();
        fs::write(base.join("data-1/a.lua"), "").unwrap();
        symlink("data-1", base.join("data")).unwrap();
        symlink("data/a.lua", base.join("a.lua")).unwrap();
        let mut places = Places::new();
        way(&mut places, &base.join("a.lua"));
        let names = places.get(&base).cloned().flatten().unwrap();
        assert_eq!(names, BTreeSet::from(["a.lua".into(), "data".into()]));
        assert!(places.contains_key(&base.join("data-1")));
    }

    #[test]
    fn what_is_missing_is_awaited_where_it_would_appear() {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        let mut places = Places::new();
        way(&mut places, &base.join("etc/mcrun/playbooks"));
        assert_eq!(places, Places::from([(base, Some(BTreeSet::from(["etc".into()])))]));
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        way(&mut Places::new(), &folder.path().join("a"));
    }
}
