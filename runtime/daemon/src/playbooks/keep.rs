//! Owns what is written down of playbooks, before it becomes active: a restart finds the versions that were good last,
//! whatever has become of their files. Sources are kept once however many versions have them, and the oldest versions
//! are taken out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use effect::{Code, Error, Principal, Result};
use journal::audit::{Kind, New};
use journal::{Journal, Write};
use serde::Serialize;

use super::Playbook;
use super::history::{ACTIVE, Active, BROKEN, Failed, History, SOURCE, Source, VERSION, Version, decoded};

/// A playbook as it was when the daemon ended.
#[derive(Debug)]
pub(super) struct Restored {
    /// What was recorded.
    pub(super) active: Active,
    /// Its own text.
    pub(super) source: Arc<str>,
    /// Its modules' texts by name.
    pub(super) modules: BTreeMap<String, Arc<str>>,
}

/// What is to be written down.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// What becomes active.
    pub(super) active: Vec<Arc<Playbook>>,
    /// Playbooks that are active no longer.
    pub(super) gone: Vec<String>,
    /// Files that are broken from now on.
    pub(super) failed: Vec<Failed>,
    /// Files that are broken no longer.
    pub(super) mended: Vec<PathBuf>,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.gone.is_empty() && self.failed.is_empty() && self.mended.is_empty()
    }
}

/// Writes down, and counts.
#[derive(Debug)]
pub(super) struct Keep {
    journal: Journal,
    node: String,
    /// What reads playbooks.
    pub(super) program: String,
    /// How many versions of each are kept.
    most: u64,
    /// The last version of each playbook that ever was.
    last: HashMap<String, (u64, String)>,
    /// How many versions have a source, by its hash.
    uses: HashMap<blake3::Hash, u32>,
}

impl Keep {
    /// Reads what is kept.
    pub(super) async fn open(
        journal: Journal,
        node: String,
        program: String,
        most: u32,
    ) -> Result<(Self, Vec<Restored>)> {
        let mut keep =
            Self { journal, node, program, most: most.into(), last: HashMap::new(), uses: HashMap::new() };
        for record in keep.journal.records(VERSION, Some(&keep.node)).await? {
            let version: Version = decoded(&record)?;
            let name = record.name.split('/').next().unwrap_or_default();
            for source in &version.sources {
                *keep.uses.entry(hash_of(source)?).or_default() += 1;
            }
            let last = keep.last.entry(name.to_owned()).or_default();
            if last.0 < version.number {
                *last = (version.number, version.version);
            }
        }
        let restored = keep.restored().await?;
        Ok((keep, restored))
    }

    async fn restored(&self) -> Result<Vec<Restored>> {
        let history = self.history();
        let active = history.active().await?;
        let sources = || active.iter().flat_map(|active| &active.version.sources);
        let mut hashes: Vec<String> = sources().map(|source| source.hash.clone()).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let texts = history.texts(hashes.clone()).await?.into_iter().map(Arc::<str>::from);
        let texts: HashMap<String, Arc<str>> = hashes.into_iter().zip(texts).collect();
        let restored = active.into_iter().filter_map(|active| {
            let mut sources = active.version.sources.iter();
            let text = |source: &Source| texts.get(&source.hash).cloned();
            let source = text(sources.next()?)?;
            let modules =
                sources.map(|source| Some((source.name.clone(), text(source)?))).collect::<Option<_>>()?;
            Some(Restored { active, source, modules })
        });
        Ok(restored.collect())
    }

    /// Keeps so many versions of each from now on.
    pub(super) fn keeps(&mut self, most: u32) {
        self.most = most.into();
    }

    pub(super) fn history(&self) -> History {
        History::new(self.journal.clone(), self.node.clone())
    }

    /// The number of a version: its own where it was the last one, else the next.
    pub(super) fn number(&self, name: &str, version: &str) -> u64 {
        match self.last.get(name) {
            Some((number, last)) if last == version => *number,
            Some((number, _)) => number + 1,
            None => 1,
        }
    }

    /// Writes all of it down, or nothing.
    ///
    /// # Errors
    /// `MC-L020` with what the journal says.
    pub(super) async fn write(&mut self, change: &Change) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        let mut writes = Vec::new();
        let mut used: Vec<blake3::Hash> = Vec::new();
        let mut written = HashSet::new();
        let mut last = Vec::new();
        for playbook in &change.active {
            let name = &playbook.definition.name;
            let sources = sources(playbook);
            let version = Version {
                number: playbook.number,
                version: playbook.version.clone(),
                file: playbook.file.clone(),
                loaded: playbook.loaded,
                sources: sources.iter().map(|(name, hash, _)| named(name, *hash)).collect(),
            };
            if self.last.get(name).is_none_or(|(number, _)| *number < playbook.number) {
                for (_, hash, text) in &sources {
                    if !self.uses.contains_key(hash) && written.insert(*hash) {
                        writes.push(self.put(SOURCE, hash.to_hex().to_string(), text)?);
                    }
                    used.push(*hash);
                }
                writes.push(self.put(VERSION, record_name(name, playbook.number), &version)?);
                last.push((name.clone(), (playbook.number, playbook.version.clone())));
            }
            let definition =
                serde_json::to_value(&playbook.definition).map_err(|error| not_kept(name, &error))?;
            let (name, program) = (name.clone(), self.program.clone());
            let active =
                Active { name: name.clone(), version, root: playbook.root.clone(), program, definition };
            writes.push(self.put(ACTIVE, name, &active)?);
        }
        writes.extend(change.gone.iter().map(|name| self.remove(ACTIVE, name.clone())));
        writes.extend(change.mended.iter().map(|file| self.remove(BROKEN, file.display().to_string())));
        for failed in &change.failed {
            writes.push(self.put(BROKEN, failed.file.display().to_string(), failed)?);
        }
        for (name, (number, version)) in &last {
            let told =
                New::of(Kind::Playbook, &Principal::Daemon.to_string(), "playbooks.load", name, "loaded");
            // It joins the commit of the version.
            drop(self.journal.audit(told.with(serde_json::json!({ "version": version, "number": number }))));
        }
        self.journal.write(writes).await.map_err(|error| {
            let what = match change.active.as_slice() {
                [one] => format!("`{}` is read and cannot be kept", one.definition.name),
                [] => "what has become of playbooks cannot be kept".to_owned(),
                several => format!("{} playbooks are read and cannot be kept", several.len()),
            };
            Error::new(Code::PlaybookNotKept, what).because(Error::from(error)).retryable()
        })?;
        used.into_iter().for_each(|hash| *self.uses.entry(hash).or_default() += 1);
        self.last.extend(last);
        Ok(())
    }

    /// Takes out the oldest versions of these playbooks, and the sources that none has any more.
    pub(super) async fn prune(&mut self, names: impl Iterator<Item = &str>) -> Result<()> {
        let history = self.history();
        for name in names {
            let Some((last, _)) = self.last.get(name).filter(|(last, _)| *last > self.most) else { continue };
            let oldest = last - self.most + 1;
            let mut writes = Vec::new();
            let mut unused: Vec<blake3::Hash> = Vec::new();
            for version in history.versions(name).await? {
                if version.number < oldest {
                    writes.push(self.remove(VERSION, record_name(name, version.number)));
                    for source in &version.sources {
                        unused.push(hash_of(source)?);
                    }
                }
            }
            let mut left: HashMap<blake3::Hash, u32> = HashMap::new();
            for hash in &unused {
                let uses =
                    left.entry(*hash).or_insert_with(|| self.uses.get(hash).copied().unwrap_or_default());
                *uses = uses.saturating_sub(1);
            }
            let lost = left.iter().filter(|(_, uses)| **uses == 0);
            writes.extend(lost.map(|(hash, _)| self.remove(SOURCE, hash.to_hex().to_string())));
            if !writes.is_empty() {
                self.journal.write(writes).await?;
                self.uses.extend(left);
                self.uses.retain(|_, uses| *uses > 0);
            }
        }
        Ok(())
    }

    /// Tells of files that are broken.
    pub(super) async fn tell(&self, failed: &[Failed]) {
        for failed in failed {
            let data = serde_json::json!({
                "file": failed.file.display().to_string(),
                "playbook": failed.playbook,
                "code": failed.error.code,
                "message": failed.error.message,
            });
            if let Err(error) = self.journal.emit("playbook.broken", &data.to_string()).await {
                tracing::warn!(%error, "it cannot be told that a playbook is broken");
            }
        }
    }

    fn put(&self, kind: &str, name: String, value: &(impl Serialize + ?Sized)) -> Result<Write> {
        let value = serde_json::to_string(value).map_err(|error| not_kept(&name, &error))?;
        Ok(Write { value: Some(value), ..self.remove(kind, name) })
    }

    fn remove(&self, kind: &str, name: String) -> Write {
        let (kind, node) = (kind.to_owned(), self.node.clone());
        Write { kind, node, name, value: None, expect: journal::Expect::Any }
    }
}

fn not_kept(name: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::new(Code::PlaybookNotKept, format!("`{name}` cannot be written down")).because(cause)
}

/// Sorts as numbers do.
fn record_name(name: &str, number: u64) -> String {
    format!("{name}/{number:012}")
}

fn named(name: &str, hash: blake3::Hash) -> Source {
    Source { name: name.to_owned(), hash: hash.to_hex().to_string() }
}

fn hash_of(source: &Source) -> Result<blake3::Hash> {
    blake3::Hash::from_hex(&source.hash).map_err(|error| {
        Error::new(Code::JournalBroken, format!("the hash of the source `{}` is none", source.name))
            .because(error)
    })
}

/// Every source of a version, its own first.
fn sources(playbook: &Playbook) -> Vec<(String, blake3::Hash, Arc<str>)> {
    let hashed = |name: String, text: &Arc<str>| (name, blake3::hash(text.as_bytes()), text.clone());
    let own = playbook.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let modules = playbook.modules.iter().map(|(name, text)| hashed(name.clone(), text));
    std::iter::once(hashed(own, &playbook.source)).chain(modules).collect()
}

/// The hash over all sources of a version.
pub(super) fn version_of(source: &str, modules: &BTreeMap<String, Arc<str>>) -> String {
    let mut hasher = blake3::Hasher::new();
    let texts = modules.iter().map(|(name, text)| (name.as_str(), &**text));
    for (name, text) in std::iter::once(("", source)).chain(texts) {
        for part in [name, text] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}
