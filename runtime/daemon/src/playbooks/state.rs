//! Owns what is known of every file: what its present text says, and what is active of it. What follows when one of them
//! changes is left to `next`. Nothing here touches a disk.

mod file;
mod next;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use effect::Error;
use tokio::time::Instant;

use self::file::{File, Fresh, Present};
use super::Definition;
use super::folder::Identity;
use super::history::Failed;
use super::keep::{Restored, version_of};
use super::loader::{Mistake, Parts};
use super::look::{Changed, Found, Inputs, Print};
use super::table::Playbook;

/// A file that was emptied is mostly about to be written.
const EMPTY: Duration = Duration::from_millis(300);
/// A file that cannot be loaded and is being written to is broken after so long; one that is missing while others are read
/// is gone after so long.
const MOVING: Duration = Duration::from_secs(2);
/// A file that is missing while others are written to is mostly about to be replaced.
const REPLACED: Duration = Duration::from_millis(30);
/// What was read during a look is looked at again after so long. Where many files are being read, a look for each would take
/// longer than to read them.
const READ_MEANWHILE: Duration = Duration::from_millis(200);
/// What is missing from a folder that has just come back is mostly on its way.
const COMING_BACK: Duration = Duration::from_secs(1);
/// Texts that nobody has any more are forgotten at every so many.
const TEXTS: usize = 1024;

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
        let mut changes = Vec::new();
        let mut look_again = None;
        for changed in found.changed {
            let file = self.files.entry(changed.path.clone()).or_default();
            if !is_same_inputs(file.inputs.as_ref(), changed.before.as_ref())
                && file.inputs.as_ref().is_some_and(|inputs| changed.is_same_text(inputs))
            {
                // It was read while the look went on; the next one knows from what.
                look_again.get_or_insert(now + READ_MEANWHILE);
                continue;
            }
            let is_empty = changed.text.as_ref().is_ok_and(|text| text.source.trim().is_empty());
            if is_empty && file.active.is_some() && file.waits(now, EMPTY) {
                look_again.get_or_insert(now + EMPTY);
            } else if file.reading.is_none() {
                file.reading = Some(changed.inputs.main);
                changes.push(changed);
            } else {
                file.next = Some(changed);
            }
        }
        look_again.into_iter().for_each(|at| self.look_again(at));
        // Once it is known which others are to be read: what is missing may be one of them by now.
        self.missing(&found.present, now);
        changes
    }

    fn look_again(&mut self, at: Instant) {
        self.look_again_at = Some(self.look_again_at.map_or(at, |other| other.min(at)));
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
        for (_, file) in self.files.iter_mut().filter(|(path, _)| present.contains(*path)) {
            self.is_changed |= file.missing.take().is_some();
        }
        // One that does not hold still is not even known.
        let are_read = present.iter().any(|path| self.files.get(path).is_none_or(File::is_open));
        let missing: Vec<PathBuf> =
            self.files.keys().filter(|path| !present.contains(*path)).cloned().collect();
        for path in missing {
            let folder = folder(&path);
            if self.lost.contains_key(&folder) {
                continue;
            }
            if self.is_restless {
                self.look_again(now + REPLACED);
                continue;
            }
            if let Some(since) = self.back.get(&folder) {
                self.look_again(*since + COMING_BACK);
                continue;
            }
            let active = self.files.get_mut(&path).filter(|file| are_read && file.active.is_some());
            let until = active.map(|file| *file.missing.get_or_insert(now) + MOVING);
            match until.filter(|until| now < *until) {
                Some(until) => self.look_again(until),
                None => {
                    self.files.remove(&path);
                    self.is_changed = true;
                }
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
        let next = self.take_in(changed, result, is_moving, now);
        let mut files = self.files.values();
        if files.clone().any(|file| file.missing.is_some())
            && !files.any(|file| file.missing.is_none() && file.is_open())
        {
            // It has waited for this.
            self.look_again(now);
        }
        next
    }

    fn take_in(
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
        if file.missing.is_some() {
            file.next = None;
            return None;
        }
        let Changed { text, inputs, .. } = changed;
        // What was read may have changed while it was read; the next look tells.
        let seen = file.next.take();
        let is_seen = seen.is_some();
        let next = seen.filter(|next| !next.is_same_text(&inputs));
        if is_seen {
            let at = if next.is_some() { now } else { now + READ_MEANWHILE };
            self.look_again_at = Some(self.look_again_at.map_or(at, |other| other.min(at)));
        }
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
}

fn is_same_inputs(one: Option<&Arc<Inputs>>, other: Option<&Arc<Inputs>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}
