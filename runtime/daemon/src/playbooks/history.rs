//! Owns how kept playbooks are recorded and read back: the active version of each, the versions before it with their
//! sources, and the files that cannot be loaded. Whoever has the database can read it; what is written is left to `keep`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use effect::{Code, Error, Result, Timestamp};
use journal::{Journal, Look, Record};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Definition, Playbook};

/// The kinds of records.
pub(super) const ACTIVE: &str = "playbook";
pub(super) const VERSION: &str = "playbook-version";
pub(super) const SOURCE: &str = "playbook-source";
pub(super) const BROKEN: &str = "playbook-broken";

/// A version of a playbook as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Counts the versions, from 1.
    pub number: u64,
    /// The hash over its sources.
    pub version: String,
    /// The file that it came from.
    pub file: PathBuf,
    /// When it became active.
    pub loaded: Timestamp,
    /// Its sources, the playbook's own first.
    pub sources: Vec<Source>,
}

/// A source of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The name by which it is loaded.
    pub name: String,
    /// The hash of its text.
    pub hash: String,
}

/// The active version of a playbook as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// Which version.
    #[serde(flatten)]
    pub version: Version,
    /// The folder that its modules come from.
    pub root: PathBuf,
    /// What has read it: another program may read it otherwise.
    pub program: String,
    /// What it says it is, as that program read it.
    pub definition: Value,
}

impl Active {
    /// What it says it is, where this program can read what is recorded.
    #[must_use]
    pub fn definition(&self) -> Option<Definition> {
        serde_json::from_value(self.definition.clone()).ok()
    }
}

impl Active {
    /// The playbook without its sources, where this program can read what is recorded.
    #[must_use]
    pub fn outline(&self) -> Option<Playbook> {
        Some(Playbook {
            definition: self.definition()?,
            version: self.version.version.clone(),
            number: self.version.number,
            file: self.version.file.clone(),
            root: self.root.clone(),
            source: Arc::from(""),
            modules: BTreeMap::new(),
            loaded: self.version.loaded,
        })
    }
}

/// A file that cannot be loaded, as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// The file, or the folder where that cannot be read.
    pub file: PathBuf,
    /// The playbook that is active in its place.
    pub playbook: Option<String>,
    /// Why.
    pub error: Error,
    /// Where the mistake is.
    pub line: Option<u32>,
    /// Since when.
    pub since: Timestamp,
    /// Tells one state of the file from another.
    pub print: String,
}

/// What is recorded of playbooks on one node.
#[derive(Debug, Clone)]
pub struct History {
    journal: Journal,
    node: String,
}

impl History {
    /// Reads from this journal.
    #[must_use]
    pub fn new(journal: Journal, node: String) -> Self {
        Self { journal, node }
    }

    /// The active version of every playbook, by name.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn active(&self) -> Result<Vec<Active>> {
        let records = self.journal.records(ACTIVE, Some(&self.node)).await?;
        records.iter().map(|record| Ok(Active { name: record.name.clone(), ..decoded(record)? })).collect()
    }

    /// The files that cannot be loaded, by path.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn failed(&self) -> Result<Vec<Failed>> {
        self.journal.records(BROKEN, Some(&self.node)).await?.iter().map(decoded).collect()
    }

    /// The versions of a playbook that are kept, newest first.
    ///
    /// # Errors
    /// `MC-L008` where there never was one of this name.
    pub async fn versions(&self, name: &str) -> Result<Vec<Version>> {
        let look = Look::Beneath { kind: VERSION.to_owned(), prefix: format!("{name}/") };
        let found = self.journal.look(&self.node, vec![look]).await?;
        let mut versions: Vec<Version> = found.iter().flatten().map(decoded).collect::<Result<_>>()?;
        // Names of playbooks hold no slash, and the numbers in names of records have all the same length.
        versions.reverse();
        if versions.is_empty() {
            return Err(unknown(name));
        }
        Ok(versions)
    }

    /// One version of a playbook; the newest where no number is given.
    ///
    /// # Errors
    /// `MC-L008` where there never was one of this name, `MC-L009` where this version of it is not kept.
    pub async fn version(&self, name: &str, number: Option<u64>) -> Result<Version> {
        let mut versions = self.versions(name).await?.into_iter();
        let found = versions.find(|version| number.is_none_or(|number| version.number == number));
        found.ok_or_else(|| {
            let number = number.unwrap_or_default();
            Error::new(
                Code::PlaybookVersion,
                format!("version {number} of the playbook `{name}` is not kept"),
            )
            .hint(format!("`mcrun playbooks history {name}` lists those that are"))
        })
    }

    /// The sources of a version by their names, the playbook's own first.
    ///
    /// # Errors
    /// `MC-J004` where one is not there.
    pub async fn sources(&self, version: &Version) -> Result<Vec<(String, String)>> {
        let hashes = version.sources.iter().map(|source| source.hash.clone()).collect();
        let texts = self.texts(hashes).await?;
        Ok(version.sources.iter().map(|source| source.name.clone()).zip(texts).collect())
    }

    /// The texts with these hashes.
    pub(super) async fn texts(&self, hashes: Vec<String>) -> Result<Vec<String>> {
        let look = |hash: &String| Look::One { kind: SOURCE.to_owned(), name: hash.clone() };
        let found = self.journal.look(&self.node, hashes.iter().map(look).collect()).await?;
        let text = |(records, hash): (Vec<Record>, &String)| match records.first() {
            Some(record) => decoded(record),
            None => Err(Error::new(Code::JournalBroken, format!("the source {hash} of a playbook is lost"))),
        };
        found.into_iter().zip(&hashes).map(text).collect()
    }
}

/// There is no such playbook.
#[must_use]
pub fn unknown(name: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    Error::new(Code::PlaybookUnknown, format!("there is no playbook `{shown}`"))
        .hint("`mcrun playbooks` lists them, with the files that cannot be loaded")
}

pub(super) fn decoded<T: DeserializeOwned>(record: &Record) -> Result<T> {
    serde_json::from_str(&record.value).map_err(|error| {
        let message = format!("the record {} `{}` cannot be decoded", record.kind, record.name);
        Error::new(Code::JournalBroken, message).because(error)
    })
}
