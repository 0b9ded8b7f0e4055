//! Owns what follows from what is known of every file: which playbooks there are, which files are broken, and what is to be
//! written down before that is so.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effect::{Code, Error, Timestamp};

use super::State;
use super::file::{File, Fresh, Present};
use crate::playbooks::claims::{Given, give};
use crate::playbooks::history::Failed;
use crate::playbooks::keep::{Change, Keep};
use crate::playbooks::table::{Broken, Playbook, Table};

/// What the next table is made of.
#[derive(Debug)]
pub(in crate::playbooks) struct Next {
    /// What is to be written down.
    pub(in crate::playbooks) change: Change,
    playbooks: BTreeMap<String, Arc<Playbook>>,
    failed: BTreeMap<PathBuf, Failed>,
    given: Given,
}

impl State {
    /// What the table is to be.
    pub(in crate::playbooks) fn next(&self, keep: &Keep, now: Timestamp) -> Next {
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
            if let Present::Broken(broken) = &file.present
                && file.missing.is_none()
            {
                let (mistake, print) = &**broken;
                let is_module = || file.inputs.as_ref().is_some_and(|inputs| modules.contains(&inputs.real));
                if !(mistake.is_other && file.active.is_none() && is_module()) {
                    add(path, &mistake.error, mistake.line, print.to_hex().to_string());
                }
            }
        }
        // What is being read stays what it was until that is over.
        let is_open = |path: &Path| {
            let is_read = |file: &File| file.reading.is_some() || file.waits.is_some();
            self.files.get(path).is_some_and(|file| file.missing.is_none() && is_read(file))
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
    pub(in crate::playbooks) fn take_over(&mut self, next: Next) -> Vec<Failed> {
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
        // What has moved is where it is now.
        self.files.retain(|_, file| file.missing.is_none() || file.active.is_some());
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
    pub(in crate::playbooks) fn table(&self) -> Table {
        Table { playbooks: self.playbooks.clone(), broken: broken(self.failed.values()) }
    }

    /// The table where what follows cannot be written down: what was active stays, and says why.
    pub(in crate::playbooks) fn refused(&mut self, next: &Next, error: &Error) -> Table {
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
