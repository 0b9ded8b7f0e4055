//! Owns what is known of every file: what its present text says, what is active of it, and what follows when one of them
//! changes. Nothing here touches a disk.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use effect::{Code, Error, Timestamp};
use tokio::time::Instant;

use super::Definition;
use super::claims::{Claim, Given, give};
use super::folder::Identity;
use super::history::Failed;
use super::keep::{Change, Keep, Restored, version_of};
use super::loader::{Mistake, Parts};
use super::look::{Changed, Found, Inputs, Print};
use super::table::{Broken, Playbook, Table};

/// A file that was emptied is mostly about to be written.
const EMPTY: Duration = Duration::from_millis(300);
/// A file that cannot be loaded and is being written to is broken after so long.
const MOVING: Duration = Duration::from_secs(2);
/// A file that is missing while others are written to is mostly about to be replaced.
const REPLACED: Duration = Duration::from_millis(30);
/// What is missing from a folder that has just come back is mostly on its way.
const COMING_BACK: Duration = Duration::from_secs(1);
/// Texts that nobody has any more are forgotten at every so many.
const TEXTS: usize = 1024;

/// What the present text of a file says.
#[derive(Debug, Default)]
enum Present {
    /// It was not read yet.
    #[default]
    Unknown,
    /// What is active.
    Active,
    /// Something that is not active yet.
    Fresh(Box<Fresh>),
    /// Nothing that can be loaded.
    Broken(Box<(Mistake, Print)>),
}

/// What was read and is not active yet.
#[derive(Debug)]
struct Fresh {
    definition: Definition,
    version: String,
    root: PathBuf,
    source: Arc<str>,
    modules: BTreeMap<String, Arc<str>>,
}

/// What is known of a file.
#[derive(Debug, Default)]
struct File {
    present: Present,
    active: Option<Arc<Playbook>>,
    /// Whether it is recorded that another program has read it.
    is_of_other: bool,
    inputs: Option<Arc<Inputs>>,
    /// The text that is being read.
    reading: Option<Print>,
    /// What it holds by now, while something else is being read.
    next: Option<Changed>,
    /// Since when it waits for whoever writes to it.
    waits: Option<Instant>,
}

impl File {
    fn claim(&self) -> Claim {
        let name = |playbook: &Arc<Playbook>| playbook.definition.name.clone();
        let wants = match &self.present {
            Present::Active => self.active.as_ref().map(name),
            Present::Fresh(fresh) => Some(fresh.definition.name.clone()),
            Present::Unknown | Present::Broken(_) => None,
        };
        Claim { wants, holds: self.active.as_ref().map(name) }
    }

    /// Whether it goes on waiting, for at most `most`.
    fn waits(&mut self, now: Instant, most: Duration) -> bool {
        let since = *self.waits.get_or_insert(now);
        let waits = now < since + most;
        if !waits {
            self.waits = None;
        }
        waits
    }
}

/// What the next table is made of.
#[derive(Debug)]
pub(super) struct Next {
    /// What is to be written down.
    pub(super) change: Change,
    playbooks: BTreeMap<String, Arc<Playbook>>,
    failed: BTreeMap<PathBuf, Failed>,
    given: Given,
}

/// What is known of every file.
#[derive(Debug, Default)]
pub(super) struct State {
    files: BTreeMap<PathBuf, File>,
    /// Folders that cannot be read, and others since when they are back.
    lost: BTreeMap<PathBuf, Error>,
    back: BTreeMap<PathBuf, Instant>,
    seen: BTreeMap<PathBuf, Option<Identity>>,
    playbooks: BTreeMap<String, Arc<Playbook>>,
    failed: BTreeMap<PathBuf, Failed>,
    texts: HashMap<Print, Weak<str>>,
    is_changed: bool,
    /// Whether files are still being written to.
    pub(super) is_restless: bool,
    /// When to look again although nothing may be heard.
    pub(super) look_again_at: Option<Instant>,
}

impl State {
    pub(super) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Forgets what was wrong with folders that playbooks come from no longer.
    pub(super) fn only_in(&mut self, folders: &[PathBuf]) {
        let before = self.lost.len();
        self.lost.retain(|folder, _| folders.contains(folder));
        self.is_changed |= self.lost.len() != before;
    }

    pub(super) fn inputs(&self) -> BTreeMap<PathBuf, Arc<Inputs>> {
        let known = self.files.iter().filter_map(|(path, file)| Some((path.clone(), file.inputs.clone()?)));
        known.collect()
    }

    pub(super) fn remember_failed(&mut self, failed: Vec<Failed>) {
        self.failed = failed.into_iter().map(|failed| (failed.file.clone(), failed)).collect();
    }

    /// Takes over what was active. Where the same program has read it, and nothing has changed since, it need not be read
    /// again.
    pub(super) fn restore(&mut self, restored: Restored, definition: Definition, program: &str) {
        let Restored { active, source, modules } = restored;
        let modules: BTreeMap<_, _> =
            modules.into_iter().map(|(name, text)| (name, self.shared(text))).collect();
        let mut file = File::default();
        if active.program == program {
            let own = active.version.sources.first().map(|own| own.name.as_str()).unwrap_or_default();
            let main = blake3::hash(source.as_bytes());
            let inputs = Inputs { real: active.root.join(own), main, modules: Vec::new(), tree: None };
            file.inputs = Some(Arc::new(inputs.with_modules(&active.root, &modules)));
            file.present = Present::Active;
        } else {
            file.is_of_other = true;
        }
        let playbook = Arc::new(Playbook {
            definition,
            version: active.version.version,
            number: active.version.number,
            file: active.version.file.clone(),
            root: active.root,
            source,
            modules,
            loaded: active.version.loaded,
        });
        self.playbooks.insert(playbook.definition.name.clone(), playbook.clone());
        file.active = Some(playbook);
        self.files.insert(active.version.file, file);
    }

    /// One text for all that have the same.
    fn shared(&mut self, text: Arc<str>) -> Arc<str> {
        let print = blake3::hash(text.as_bytes());
        if let Some(known) = self.texts.get(&print).and_then(Weak::upgrade) {
            return known;
        }
        if self.texts.len() % TEXTS == TEXTS - 1 {
            self.texts.retain(|_, text| text.strong_count() > 0);
        }
        self.texts.insert(print, Arc::downgrade(&text));
        text
    }

    /// Takes in what a look has found; what is to be read comes back.
    pub(super) fn found(&mut self, found: Found, now: Instant) -> Vec<Changed> {
        self.folders(&found, now);
        self.missing(&found.present, now);
        let mut changes = Vec::new();
        for changed in found.changed {
            let file = self.files.entry(changed.path.clone()).or_default();
            if !is_same_inputs(file.inputs.as_ref(), changed.before.as_ref())
                && file.inputs.as_ref().is_some_and(|inputs| changed.is_same_text(inputs))
            {
                // It was read while the look went on; the next one knows from what.
                self.look_again_at = Some(now);
                continue;
            }
            let is_empty = changed.text.as_ref().is_ok_and(|text| text.source.trim().is_empty());
            if is_empty && file.active.is_some() && file.waits(now, EMPTY) {
                self.look_again_at = Some(now + EMPTY);
            } else if file.reading.is_none() {
                file.reading = Some(changed.inputs.main);
                changes.push(changed);
            } else {
                file.next = Some(changed);
            }
        }
        changes
    }

    fn folders(&mut self, found: &Found, now: Instant) {
        for folder in &found.folders {
            match &folder.state {
                Ok(identity) => {
                    let before = self.seen.insert(folder.path.clone(), *identity);
                    let was_lost = self.lost.remove(&folder.path).is_some();
                    self.is_changed |= was_lost;
                    if was_lost || before.is_some_and(|before| before != *identity) {
                        self.back.insert(folder.path.clone(), now);
                    }
                }
                Err(error) => {
                    let before = self.lost.insert(folder.path.clone(), error.clone());
                    self.is_changed |= before.as_ref() != Some(error);
                }
            }
        }
        self.back.retain(|_, since| now < *since + COMING_BACK);
    }

    /// Forgets files that are no more, unless that may be for a moment only.
    fn missing(&mut self, present: &BTreeSet<PathBuf>, now: Instant) {
        let folder = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
        let missing: Vec<PathBuf> =
            self.files.keys().filter(|path| !present.contains(*path)).cloned().collect();
        for path in missing {
            let folder = folder(&path);
            if self.lost.contains_key(&folder) {
                continue;
            }
            if self.is_restless {
                self.look_again_at = Some(now + REPLACED);
            } else if let Some(since) = self.back.get(&folder) {
                self.look_again_at = Some(*since + COMING_BACK);
            } else {
                self.files.remove(&path);
                self.is_changed = true;
            }
        }
    }

    /// Takes in what a file was read as; what it holds by now, where that is something else, comes back to be read.
    pub(super) fn read(
        &mut self,
        changed: Changed,
        result: Result<Parts, Mistake>,
        is_moving: bool,
        now: Instant,
    ) -> Option<Changed> {
        let result = result.map(|parts| {
            let modules = parts.modules.into_iter().map(|(name, text)| (name, self.shared(text))).collect();
            Parts { modules, ..parts }
        });
        // It was taken away meanwhile.
        let file = self.files.get_mut(&changed.path)?;
        file.reading = None;
        let Changed { text, inputs, .. } = changed;
        // What was read may have changed while it was read; the next look tells.
        let next = file.next.take();
        if next.is_some() {
            self.look_again_at = Some(now);
        }
        let next = next.filter(|next| !next.is_same_text(&inputs));
        match (result, text) {
            (Ok(parts), Ok(text)) => {
                file.inputs = Some(Arc::new(inputs.with_modules(&text.root, &parts.modules)));
                file.present = Present::Fresh(Box::new(Fresh {
                    version: version_of(&text.source, &parts.modules),
                    definition: parts.definition,
                    root: text.root,
                    source: text.source,
                    modules: parts.modules,
                }));
                file.waits = None;
                self.is_changed = true;
            }
            (Err(_), _) if next.is_some() || (is_moving && file.waits(now, MOVING)) => {}
            (Err(mistake), _) => {
                let print = inputs.main;
                file.inputs = Some(Arc::new(inputs));
                file.present = Present::Broken(Box::new((mistake, print)));
                file.waits = None;
                self.is_changed = true;
            }
            (Ok(_), Err(_)) => {}
        }
        if let Some(next) = &next {
            file.reading = Some(next.inputs.main);
        }
        next
    }

    /// What the table is to be.
    pub(super) fn next(&self, keep: &Keep, now: Timestamp) -> Next {
        let claims = self.files.iter().map(|(path, file)| (path.clone(), file.claim())).collect();
        let given = give(&claims);
        let mut change = Change::default();
        let mut playbooks = BTreeMap::new();
        for (name, (path, is_present)) in &given.names {
            let Some(file) = self.files.get(path) else { continue };
            let playbook = match (&file.present, &file.active) {
                (Present::Fresh(fresh), active) if *is_present => match active {
                    Some(active) if is_as_active(fresh, active, path) => {
                        change.active.extend(file.is_of_other.then(|| active.clone()));
                        active.clone()
                    }
                    _ => {
                        let playbook = Arc::new(self.made(name, path, fresh, keep, now));
                        change.active.push(playbook.clone());
                        playbook
                    }
                },
                (_, Some(active)) => active.clone(),
                (_, None) => continue,
            };
            playbooks.insert(name.clone(), playbook);
        }
        change.gone = self.playbooks.keys().filter(|name| !playbooks.contains_key(*name)).cloned().collect();
        let failed = self.failures(&given, &playbooks, now);
        change.failed = failed
            .values()
            .filter(|failed| self.failed.get(&failed.file) != Some(*failed))
            .cloned()
            .collect();
        change.mended = self.failed.keys().filter(|file| !failed.contains_key(*file)).cloned().collect();
        Next { change, playbooks, failed, given }
    }

    fn made(&self, name: &str, path: &Path, fresh: &Fresh, keep: &Keep, now: Timestamp) -> Playbook {
        let number = keep.number(name, &fresh.version);
        let before = self.playbooks.get(name).filter(|before| before.number == number);
        Playbook {
            definition: fresh.definition.clone(),
            version: fresh.version.clone(),
            number,
            file: path.to_owned(),
            root: fresh.root.clone(),
            source: fresh.source.clone(),
            modules: fresh.modules.clone(),
            loaded: before.map_or(now, |before| before.loaded),
        }
    }

    /// The files and folders that are broken.
    fn failures(
        &self,
        given: &Given,
        playbooks: &BTreeMap<String, Arc<Playbook>>,
        now: Timestamp,
    ) -> BTreeMap<PathBuf, Failed> {
        let modules = self.modules();
        let mut failed = BTreeMap::new();
        let mut add = |file: &Path, error: &Error, line: Option<u32>, print: String| {
            let playbook = playbooks.values().find(|playbook| playbook.file == file);
            let playbook = playbook.map(|playbook| playbook.definition.name.clone());
            let fresh =
                Failed { file: file.to_owned(), playbook, error: error.clone(), line, since: now, print };
            let before = self.failed.get(file).filter(|before| is_same(before, &fresh));
            let since = before.map_or(now, |before| before.since);
            failed.insert(file.to_owned(), Failed { since, ..fresh });
        };
        for (folder, error) in &self.lost {
            add(folder, error, None, String::new());
        }
        for (path, file) in &self.files {
            if let Present::Broken(broken) = &file.present {
                let (mistake, print) = &**broken;
                let is_module = || file.inputs.as_ref().is_some_and(|inputs| modules.contains(&inputs.real));
                if !(mistake.is_other && file.active.is_none() && is_module()) {
                    add(path, &mistake.error, mistake.line, print.to_hex().to_string());
                }
            }
        }
        // What is being read stays what it was until that is over.
        let is_open = |path: &Path| {
            self.files.get(path).is_some_and(|file| file.reading.is_some() || file.waits.is_some())
        };
        let open = self.failed.values().filter(|failed| is_open(&failed.file));
        for before in open {
            add(&before.file, &before.error, before.line, before.print.clone());
        }
        for (path, (name, other)) in &given.refused {
            let message =
                format!("`{}` and `{}` both hold the playbook `{name}`", other.display(), path.display());
            let error = Error::new(Code::PlaybookTwice, message)
                .because(format!("`{}` was loaded first and stays", other.display()));
            add(path, &error, None, String::new());
        }
        failed
    }

    /// The files that others require.
    fn modules(&self) -> HashSet<PathBuf> {
        let inputs = self.files.values().filter_map(|file| file.inputs.as_ref());
        let modules = inputs.flat_map(|inputs| &inputs.modules);
        modules.filter(|(_, print)| print.is_some()).map(|(path, _)| path.clone()).collect()
    }

    /// Takes over what was written down; files that are broken since then come back.
    pub(super) fn take_over(&mut self, next: Next) -> Vec<Failed> {
        let Next { change, playbooks, failed, given } = next;
        let given: BTreeMap<PathBuf, (String, bool)> =
            given.names.into_iter().map(|(name, (path, is_present))| (path, (name, is_present))).collect();
        for (path, file) in &mut self.files {
            let has = given.get(path);
            file.active = has.and_then(|(name, _)| playbooks.get(name).cloned());
            if has.is_some_and(|(_, is_present)| *is_present) {
                file.present = Present::Active;
                file.is_of_other = false;
            }
        }
        for playbook in &change.active {
            let (name, number, file) = (&playbook.definition.name, playbook.number, playbook.file.display());
            tracing::info!(playbook = %name, number, %file, "a version of a playbook is active");
        }
        for name in &change.gone {
            tracing::info!(playbook = %name, "a playbook is taken out with its file");
        }
        let is_new =
            |failed: &&Failed| self.failed.get(&failed.file).is_none_or(|before| !is_same(before, failed));
        let fresh: Vec<Failed> = change.failed.iter().filter(is_new).cloned().collect();
        for failed in &fresh {
            let (file, playbook) = (failed.file.display(), failed.playbook.as_deref());
            tracing::error!(%file, playbook, line = failed.line, error = %failed.error, "a file of a playbook cannot be loaded");
        }
        self.playbooks = playbooks;
        self.failed = failed;
        self.is_changed = false;
        fresh
    }

    /// The table as it is.
    pub(super) fn table(&self) -> Table {
        Table { playbooks: self.playbooks.clone(), broken: broken(self.failed.values()) }
    }

    /// The table where what follows cannot be written down: what was active stays, and says why.
    pub(super) fn refused(&mut self, next: &Next, error: &Error) -> Table {
        self.is_changed = false;
        let mut table = Table { playbooks: self.playbooks.clone(), broken: broken(next.failed.values()) };
        for playbook in &next.change.active {
            let active = self.playbooks.get(&playbook.definition.name);
            let since = playbook.loaded;
            let playbook_name = active.map(|active| active.definition.name.clone());
            let broken = Broken { playbook: playbook_name, error: error.clone(), line: None, since };
            table.broken.insert(playbook.file.clone(), broken);
        }
        table
    }
}

fn is_same_inputs(one: Option<&Arc<Inputs>>, other: Option<&Arc<Inputs>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// Whether nothing has changed but when it was seen.
fn is_same(one: &Failed, other: &Failed) -> bool {
    one.error == other.error && one.print == other.print && one.line == other.line
}

fn is_as_active(fresh: &Fresh, active: &Playbook, path: &Path) -> bool {
    active.version == fresh.version
        && active.definition == fresh.definition
        && active.file == path
        && active.root == fresh.root
}

fn broken<'a>(failed: impl Iterator<Item = &'a Failed>) -> BTreeMap<PathBuf, Broken> {
    let broken = failed.map(|failed| {
        let Failed { file, playbook, error, line, since, .. } = failed.clone();
        (file, Broken { playbook, error, line, since })
    });
    broken.collect()
}
