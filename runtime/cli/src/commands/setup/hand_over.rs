//! Owns how a state directory becomes another user's. Root walks there while that user may already change what lies in it,
//! so nothing is looked at by its path twice: what was opened is what is looked at, and what is given away.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fstat, openat, openat2,
};
use rustix::io::Errno;

/// Deeper than any state directory, and with as many files open.
const DEEPEST: usize = 32;
/// More than any state directory holds.
const MOST: u32 = 4_000_000;

/// Makes the state directory the user's, with all in it that is root's: neither what links lead to, nor what bears another
/// name elsewhere, nor what is somebody else's.
pub(super) fn hand_over(state: &Path, user: &str) -> Result<()> {
    let failed = |error: io::Error| {
        Error::new(Code::StateUnusable, format!("`{}` cannot be handed to {user}", state.display()))
            .because(error)
    };
    let (owner, group) = ids(&fs::read_to_string("/etc/passwd").map_err(failed)?, user)
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::NotFound, "the user is not in /etc/passwd")))?;
    // Whoever may change a folder above could have a link there in the meantime.
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let top = openat2(CWD, state, FOLDER, Mode::empty(), links).map_err(|errno| match errno {
        Errno::LOOP => failed(io::Error::from(errno)).hint("name the path that the link on its way leads to"),
        errno => failed(errno.into()),
    })?;
    if !is_theirs(&fstat(&top).map_err(|errno| failed(errno.into()))?, owner) {
        return Err(failed(io::Error::other("it is neither root's nor that user's")));
    }
    let give = |_: &Path, object: BorrowedFd<'_>| {
        chownat(object, "", Some(Uid::from_raw(owner)), Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)
    };
    Walk { owner, left: MOST, give }.folder(&top, Path::new(""), 0).map_err(failed)
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Opens what is there, a link as itself, without touching it.
const ITSELF: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Walk<G> {
    owner: u32,
    /// How much more is looked at.
    left: u32,
    give: G,
}

impl<G: FnMut(&Path, BorrowedFd<'_>) -> rustix::io::Result<()>> Walk<G> {
    /// Gives a folder away and what is in it. `path` is for tests and messages alone.
    fn folder(&mut self, folder: &OwnedFd, path: &Path, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!("folders lie more than {DEEPEST} deep in each other")));
        }
        (self.give)(path, folder.as_fd())?;
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if [&b"."[..], b".."].contains(&name.to_bytes()) {
                continue;
            }
            self.left =
                self.left.checked_sub(1).ok_or_else(|| io::Error::other("it holds too many files"))?;
            let path: PathBuf = path.join(OsStr::from_bytes(name.to_bytes()));
            match openat(folder, name, ITSELF, Mode::empty()) {
                Ok(object) => self.object(&object, &path, depth)?,
                // A daemon that runs takes files away.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn object(&mut self, object: &OwnedFd, path: &Path, depth: usize) -> io::Result<()> {
        let found = fstat(object)?;
        if !is_theirs(&found, self.owner) {
            return Ok(());
        }
        if is_folder(&found) {
            // The very one that was looked at, whatever has its name by now.
            let folder = openat(object, ".", FOLDER, Mode::empty())?;
            return self.folder(&folder, path, depth + 1);
        }
        // It has a name elsewhere too, where it may be a file of root's.
        if found.st_nlink > 1 {
            return Ok(());
        }
        Ok((self.give)(path, object.as_fd())?)
    }
}

fn is_folder(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

/// Whether it is root's, or the user's already.
fn is_theirs(found: &Stat, owner: u32) -> bool {
    found.st_uid == 0 || found.st_uid == owner
}

/// The numbers of a user in a table as `/etc/passwd` is one.
fn ids(users: &str, user: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(user))?;
    let mut words = line.split(':').skip(2);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    /// What would be given away, in the order of names; `seen` is told of each before it goes on.
    fn given(state: &Path, owner: u32, mut seen: impl FnMut(&Path)) -> io::Result<Vec<String>> {
        let top = openat(CWD, state, FOLDER, Mode::empty())?;
        let mut names = Vec::new();
        let give = |path: &Path, _: BorrowedFd<'_>| {
            names.push(path.display().to_string());
            seen(path);
            Ok(())
        };
        Walk { owner, left: 100, give }.folder(&top, Path::new(""), 0)?;
        names.sort();
        Ok(names)
    }

    /// A state directory with files in it, beside a folder and a file of somebody's.
    fn place() -> (tempfile::TempDir, PathBuf, u32) {
        let place = tempfile::tempdir().unwrap();
        let state = place.path().join("state");
        fs::create_dir_all(state.join("runs/one")).unwrap();
        fs::create_dir_all(place.path().join("etc")).unwrap();
        for file in ["state/journal", "state/runs/one/log", "etc/shadow", "etc/log"] {
            fs::write(place.path().join(file), "").unwrap();
        }
        let owner = fs::metadata(&state).unwrap().uid();
        (place, state, owner)
    }

    const ALL: [&str; 5] = ["", "journal", "runs", "runs/one", "runs/one/log"];

    #[test]
    fn everything_in_a_state_directory_is_given_away() {
        let (_place, state, owner) = place();
        assert_eq!(given(&state, owner, |_| {}).unwrap(), ALL);
    }

    #[test]
    fn what_links_lead_to_and_what_bears_another_name_is_kept() {
        let (place, state, owner) = place();
        symlink(place.path().join("etc"), state.join("runs/two")).unwrap();
        fs::hard_link(place.path().join("etc/shadow"), state.join("shadow")).unwrap();
        let mut expected = ALL.to_vec();
        // The link itself, which is a name and nothing else.
        expected.push("runs/two");
        assert_eq!(given(&state, owner, |_| {}).unwrap(), expected);
        assert!(given(&state.join("runs/two"), owner, |_| {}).is_err());
    }

    #[test]
    fn a_folder_that_becomes_a_link_meanwhile_leads_nowhere() {
        let (place, state, owner) = place();
        let (etc, one) = (place.path().join("etc"), state.join("runs/one"));
        let swap = |path: &Path| {
            if path == Path::new("runs/one") {
                fs::rename(&one, place.path().join("moved")).unwrap();
                symlink(&etc, &one).unwrap();
            }
        };
        // What is gone on with is the folder that was looked at: it alone holds one file.
        fs::write(etc.join("passwd"), "").unwrap();
        assert_eq!(given(&state, owner, swap).unwrap(), ALL);
    }

    #[test]
    fn what_is_somebody_elses_is_not_entered() {
        let (_place, state, owner) = place();
        let mut found = fstat(fs::File::open(&state).unwrap()).unwrap();
        assert!(is_theirs(&found, owner));
        found.st_uid = 0;
        assert!(is_theirs(&found, owner));
        found.st_uid = owner + 2;
        assert!(!is_theirs(&found, owner) && !is_theirs(&found, owner + 1));
    }

    #[test]
    fn more_than_a_state_directory_holds_is_refused() {
        let (_place, state, owner) = place();
        let mut deep = state.clone();
        for _ in 0..=DEEPEST {
            deep.push("x");
        }
        fs::create_dir_all(&deep).unwrap();
        assert!(given(&state, owner, |_| {}).unwrap_err().to_string().contains("deep in each other"));
        fs::remove_dir_all(state.join("x")).unwrap();
        for number in 0..100 {
            fs::write(state.join(number.to_string()), "").unwrap();
        }
        assert!(given(&state, owner, |_| {}).unwrap_err().to_string().contains("too many files"));
    }

    #[test]
    fn a_users_numbers_are_read_from_its_own_line() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nmcrunner:x:1:2::/:\nmcrun:x:998:997:mcrun:/var/lib/mcrun:\n";
        assert_eq!(ids(users, "mcrun"), Some((998, 997)));
        assert_eq!(ids(users, "nobody"), None);
    }
}
