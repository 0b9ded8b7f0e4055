//! Owns what is remembered of images: as long as the engine's own list of them has not been written, a name means the
//! content that it meant before, and nobody has to be asked again. Where that list cannot be seen, nothing is remembered.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::observed::ImageDefaults;

/// More names than this are not remembered: a script may invent them.
const MOST_NAMES: usize = 256;

/// One state of a list of images. It is replaced as a whole whenever a name is given, moved or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

fn stamp(list: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(list).ok()?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// The images that were looked up.
pub(crate) struct Known(Mutex<State>);

#[derive(Default)]
struct State {
    list: Option<PathBuf>,
    stamp: Option<Stamp>,
    images: HashMap<String, ImageDefaults>,
}

/// What a look-up that is about to be made may be remembered under.
pub(crate) struct Ticket(Option<Stamp>);

impl Known {
    /// The image called `name`, or the ticket to remember it with.
    pub(crate) fn get(&self, name: &str) -> Result<ImageDefaults, Ticket> {
        let mut state = self.state();
        let current = state.list.as_deref().and_then(stamp);
        if current.is_none() || current != state.stamp {
            state.images.clear();
            state.stamp = current;
        }
        state.images.get(name).cloned().ok_or(Ticket(current))
    }

    /// Nothing is known yet but where the list of this user usually is.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { list: usual_list(), ..State::default() }))
    }

    /// Remembers an image that was looked up after `ticket` was handed out. It also tells where the list is.
    pub(crate) fn put(&self, ticket: &Ticket, name: &str, image: &ImageDefaults, list: Option<PathBuf>) {
        let mut state = self.state();
        if state.list != list {
            *state = State { list, ..State::default() };
        } else if ticket.0.is_some() && ticket.0 == state.stamp && state.images.len() < MOST_NAMES {
            state.images.insert(name.to_owned(), image.clone());
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn usual_list() -> Option<PathBuf> {
    let data = if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/lib")
    } else {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share"));
        std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(home)?
    };
    Some(data.join("containers/storage/overlay-images/images.json"))
}

/// The engine's list of images, found from where it keeps the layers of one: `ROOT/overlay/LAYER/diff`. Only the store
/// that also has the engine's own folder counts: names in a further, read-only store yield to those in this one.
pub(crate) fn list(driver: &str, upper: &Path) -> Option<PathBuf> {
    let root = upper.ancestors().nth(3)?;
    let list = root.join(format!("{driver}-images")).join("images.json");
    (root.join("libpod").is_dir() && list.is_file()).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str) -> ImageDefaults {
        ImageDefaults { id: id.to_owned(), ..ImageDefaults::default() }
    }

    fn look_up(known: &Known, list: &Path, id: &str) -> String {
        match known.get("web") {
            Ok(found) => found.id,
            Err(ticket) => {
                known.put(&ticket, "web", &image(id), Some(list.to_owned()));
                id.to_owned()
            }
        }
    }

    #[test]
    fn a_name_is_remembered_until_the_list_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (list, next) = (dir.path().join("images.json"), dir.path().join("next"));
        fs::write(&list, "[1]").unwrap();
        let known = Known::new();
        assert_eq!(look_up(&known, &list, "first"), "first", "it is not known yet where the list is");
        assert_eq!(look_up(&known, &list, "one"), "one");
        assert_eq!(look_up(&known, &list, "two"), "one");
        fs::write(&next, "[2]").unwrap();
        fs::rename(&next, &list).unwrap();
        assert_eq!(look_up(&known, &list, "two"), "two");
        fs::remove_file(&list).unwrap();
        assert_eq!(look_up(&known, &list, "three"), "three");
        assert_eq!(look_up(&known, &list, "four"), "four", "without a list nothing is remembered");
    }

    #[test]
    fn what_was_asked_before_the_list_was_written_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("images.json");
        fs::write(&list, "[1]").unwrap();
        let known = Known::new();
        look_up(&known, &list, "first");
        let Err(early) = known.get("web") else { panic!("nothing is known yet") };
        fs::write(&list, "[1, 2]").unwrap();
        let Err(_) = known.get("web") else { panic!("nothing is known yet") };
        known.put(&early, "web", &image("old"), Some(list.clone()));
        assert_eq!(look_up(&known, &list, "new"), "new");
    }

    #[test]
    fn only_the_engines_own_store_counts() {
        let dir = tempfile::tempdir().unwrap();
        let upper = dir.path().join("overlay/0123/diff");
        fs::create_dir_all(dir.path().join("overlay-images")).unwrap();
        fs::write(dir.path().join("overlay-images/images.json"), "[]").unwrap();
        assert_eq!(list("overlay", &upper), None);
        fs::create_dir(dir.path().join("libpod")).unwrap();
        assert_eq!(list("overlay", &upper), Some(dir.path().join("overlay-images/images.json")));
        assert_eq!(list("vfs", Path::new("/")), None);
    }
}
