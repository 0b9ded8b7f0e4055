//! Owns the look at folders: what lies there now, and which files read otherwise than when they were last loaded. It works
//! on a thread of its own, and the disk alone decides: what was heard only says what to read again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use effect::{Code, Error, Result};

use super::folder::{self, Identity, Stamp};
use super::loader::Text;
use super::watching::{Hints, Watching};
use super::ways::{self, Places};

/// How long a file that never rests must hold still to be read.
const GAP: Duration = Duration::from_millis(3);

/// The hash of a text.
pub(super) type Print = blake3::Hash;

/// What a file was loaded from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inputs {
    /// Where it really lies.
    pub(super) real: PathBuf,
    /// Its text, or what was wrong with it.
    pub(super) main: Print,
    /// Its modules, and the files that would come before them, which are not there.
    pub(super) modules: Vec<(PathBuf, Option<Print>)>,
    /// Everything beneath its folder, where it could not be loaded: whatever changes there may mend it.
    pub(super) tree: Option<(PathBuf, u64)>,
}

impl Inputs {
    /// The same for a text that was loaded with these modules.
    pub(super) fn with_modules(&self, root: &Path, modules: &BTreeMap<String, Arc<str>>) -> Self {
        let mut inputs = Self { modules: Vec::new(), tree: None, ..self.clone() };
        for (name, text) in modules.iter().filter(|(name, _)| !name.starts_with('@')) {
            let absent = folder::before(name).into_iter().map(|name| (root.join(name), None));
            inputs.modules.extend(absent);
            inputs.modules.push((root.join(name), Some(blake3::hash(text.as_bytes()))));
        }
        inputs
    }
}

/// A file that reads otherwise than before.
#[derive(Debug)]
pub(super) struct Changed {
    /// Its path in the folder.
    pub(super) path: PathBuf,
    /// What it holds.
    pub(super) text: Result<Text>,
    /// What it is loaded from, modules not yet known.
    pub(super) inputs: Inputs,
    /// What it was last loaded from, as far as the look knew.
    pub(super) before: Option<Arc<Inputs>>,
}

impl Changed {
    /// Whether both read the same file with the same text.
    pub(super) fn is_same_text(&self, other: &Inputs) -> bool {
        self.inputs.main == other.main && self.inputs.real == other.real
    }
}

/// A folder as it was found.
#[derive(Debug)]
pub(super) struct Folder {
    /// Its path as it was configured.
    pub(super) path: PathBuf,
    /// What tells it from another in its place, or why it cannot be read.
    pub(super) state: Result<Option<Identity>>,
}

/// What one look has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every folder.
    pub(super) folders: Vec<Folder>,
    /// Every file that counts in those that can be read.
    pub(super) present: BTreeSet<PathBuf>,
    /// Those that read otherwise than before.
    pub(super) changed: Vec<Changed>,
    /// Whether to look again soon: something changed meanwhile.
    pub(super) is_unsettled: bool,
}

/// What a look is given.
#[derive(Debug)]
pub(super) struct Ask {
    /// What each file was last loaded from.
    pub(super) inputs: BTreeMap<PathBuf, Arc<Inputs>>,
    /// What was heard.
    pub(super) hints: Hints,
    /// Whether files are still being written to.
    pub(super) is_restless: bool,
}

/// What is remembered of a file so that it need not be read each time.
#[derive(Debug, Clone, Copy)]
struct Known {
    stamp: Stamp,
    print: Option<Print>,
    /// Whether two looks agreed: a file may change twice within what its times tell apart.
    is_confirmed: bool,
}

/// What lasts from look to look.
#[derive(Debug)]
pub(super) struct Memory {
    /// The folders, as configured.
    pub(super) folders: Vec<PathBuf>,
    /// How many files each may hold.
    pub(super) most: usize,
    /// What is watched.
    pub(super) watching: Watching,
    known: HashMap<PathBuf, Known>,
}

impl Memory {
    pub(super) fn new(folders: Vec<PathBuf>, most: usize, watching: Watching) -> Self {
        Self { folders, most, watching, known: HashMap::new() }
    }

    /// Looks at everything.
    pub(super) fn look(&mut self, ask: &Ask) -> Found {
        let mut look = Look {
            ask,
            known: std::mem::take(&mut self.known),
            prints: HashMap::new(),
            texts: HashMap::new(),
            trees: HashMap::new(),
            places: Places::new(),
            found: Found::default(),
        };
        for folder in &self.folders {
            look.folder(folder, self.most);
        }
        let Look { known, prints, places, mut found, .. } = look;
        self.known = known;
        self.known.retain(|path, _| prints.contains_key(path));
        // What is watched only now may have changed just before.
        found.is_unsettled |= self.watching.set(places);
        found
    }
}

/// One look.
struct Look<'a> {
    ask: &'a Ask,
    known: HashMap<PathBuf, Known>,
    /// What each path holds, each read once.
    prints: HashMap<PathBuf, Option<Print>>,
    /// The texts that were read on the way.
    texts: HashMap<PathBuf, Result<Arc<str>>>,
    /// What lies beneath each folder that was walked, and its print where that was asked for.
    trees: HashMap<PathBuf, (Vec<PathBuf>, Option<u64>)>,
    places: Places,
    found: Found,
}

impl Look<'_> {
    fn folder(&mut self, path: &Path, most: usize) {
        ways::way(&mut self.places, path);
        let listed = folder::list(path, most);
        let state = listed.as_ref().map(|_| folder::identity(path)).map_err(Clone::clone);
        self.found.folders.push(Folder { path: path.to_owned(), state });
        let (Ok(files), Ok(real)) = (listed, fs::canonicalize(path)) else { return };
        let folders = folder::folders(&real);
        folders.iter().for_each(|folder| ways::whole(&mut self.places, folder.clone()));
        self.trees.insert(real.clone(), (folders, None));
        for (file, is_link) in files {
            self.file(file, is_link, &real);
        }
    }

    fn file(&mut self, path: PathBuf, is_link: bool, folder: &Path) {
        let real = if is_link {
            ways::way(&mut self.places, &path);
            fs::canonicalize(&path)
        } else {
            Ok(path.file_name().map_or_else(|| folder.to_owned(), |name| folder.join(name)))
        };
        let before = self.ask.inputs.get(&path).cloned();
        self.found.present.insert(path.clone());
        let real = match real {
            Ok(real) => real,
            // The link leads nowhere, for the moment at least.
            Err(error) => {
                let shown = path.display();
                let error = Error::new(Code::Unreadable, format!("`{shown}` cannot be read")).because(error);
                return self.unreadable(path.clone(), path, error, before);
            }
        };
        let root = real.parent().unwrap_or(Path::new("/")).to_owned();
        ways::whole(&mut self.places, root.clone());
        let Some(print) = self.print(&real) else { return };
        let Some(main) = print else {
            let error = match self.text(&real) {
                Err(error) => error,
                // It can be read by now.
                Ok(_) => return self.found.is_unsettled = true,
            };
            return self.unreadable(path, real, error, before);
        };
        let is_same = |before: &Arc<Inputs>| before.real == real && before.main == main;
        if before.as_ref().is_some_and(|before| is_same(before) && self.is_same(before)) {
            return;
        }
        let Ok(source) = self.text(&real) else { return self.found.is_unsettled = true };
        let tree = Some((root.clone(), self.print_of_tree(&root)));
        let inputs = Inputs { real: real.clone(), main, modules: Vec::new(), tree };
        let name = real.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let text = Text { root, name, source, modules: BTreeMap::new() };
        self.found.changed.push(Changed { path, text: Ok(text), inputs, before });
    }

    fn unreadable(&mut self, path: PathBuf, real: PathBuf, error: Error, before: Option<Arc<Inputs>>) {
        let main = blake3::hash(error.to_string().as_bytes());
        let inputs = Inputs { real, main, modules: Vec::new(), tree: None };
        if before.as_ref().is_none_or(|before| **before != inputs) {
            self.found.changed.push(Changed { path, text: Err(error), inputs, before });
        }
    }

    /// Whether everything else that a file was loaded from is as it was.
    fn is_same(&mut self, before: &Inputs) -> bool {
        let mut is_same = true;
        for (path, print) in &before.modules {
            if let Some(folder) = path.parent()
                && !matches!(self.places.get(folder), Some(None))
                && folder.is_dir()
            {
                ways::whole(&mut self.places, folder.to_owned());
            }
            match self.print(path) {
                Some(now) => is_same &= now == *print,
                None => return true,
            }
        }
        is_same && before.tree.as_ref().is_none_or(|(root, print)| self.print_of_tree(root) == *print)
    }

    fn print_of_tree(&mut self, root: &Path) -> u64 {
        let walked = self.trees.entry(root.to_owned()).or_insert_with(|| (folder::folders(root), None));
        let (folders, print) = walked;
        *print.get_or_insert_with(|| folder::print(folders))
    }

    /// What a path holds, nothing where it cannot be read; none where it does not hold still.
    fn print(&mut self, path: &Path) -> Option<Option<Print>> {
        if let Some(print) = self.prints.get(path) {
            return Some(*print);
        }
        let stamp = fs::symlink_metadata(path).ok().as_ref().map(Stamp::of);
        let known = self.known.get(path).filter(|known| Some(known.stamp) == stamp).copied();
        let print = match known {
            Some(known) if known.is_confirmed && !self.ask.hints.names(path) => known.print,
            known if stamp.is_some() => {
                let held = folder::read(path, self.ask.is_restless.then_some(GAP));
                if !held.is_stable {
                    self.found.is_unsettled = true;
                    return None;
                }
                let print = held.text.as_ref().ok().map(|text| blake3::hash(text.as_bytes()));
                if let Some(stamp) = held.stamp {
                    let is_confirmed =
                        known.is_some_and(|known| known.stamp == stamp && known.print == print);
                    self.known.insert(path.to_owned(), Known { stamp, print, is_confirmed });
                }
                self.texts.insert(path.to_owned(), held.text);
                print
            }
            _ => None,
        };
        self.prints.insert(path.to_owned(), print);
        Some(print)
    }

    /// The text of a path whose print was taken.
    fn text(&mut self, path: &Path) -> Result<Arc<str>> {
        match self.texts.get(path) {
            Some(text) => text.clone(),
            None => folder::read(path, None).text,
        }
    }
}
