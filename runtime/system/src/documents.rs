//! Owns documents: texts that runs push for people to read, who has read which version of them, and the effects on them.
//!
//! A record `document` holds one; records `document-read`, named SLUG/PRINCIPAL, say who has read which version. A mark is only
//! good for exactly that version, so pushing another one takes every mark away, also one that is set at the same moment.

mod delete;
mod ensured;
mod push;
mod queries;

use std::sync::Arc;

use effect::{Code, Context, Error, Principal, Registry, Result, Timestamp};
use journal::audit::{Kind, New};
use journal::{Expect, Journal, Look, Record, RunId, Write};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::World;

pub use delete::Delete;
pub use push::Push;
pub use queries::{List, Read};

const DOCUMENT: &str = "document";
const MARK: &str = "document-read";
/// No text is longer, in bytes.
const LONGEST_BODY: usize = 256 << 10;
/// No title is longer, in letters.
const LONGEST_TITLE: usize = 200;
const LONGEST_SLUG: usize = 128;
/// No node keeps more documents.
const MOST: usize = 10_000;
/// How often a mark is set anew that somebody else has changed meanwhile.
const ATTEMPTS: usize = 20;

/// Registers the effects on documents.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.ensure::<Push>(world);
    registry.ensure::<Delete>(world);
    registry.read::<Read>(world);
    registry.read::<List>(world);
}

/// A text for people to read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// What it is called in addresses and commands.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// Goes up each time that another one is pushed.
    pub version: u64,
    /// SHA-256 of title and body.
    pub hash: String,
    /// Who pushed it: whoever started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_by: Option<String>,
    /// By which run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// When, in seconds since 1970.
    pub at: f64,
}

impl Document {
    /// The version, such that no other text ever has the same.
    #[must_use]
    pub fn edition(&self) -> String {
        format!("{}@{} {}", self.slug, self.version, self.hash)
    }
}

/// That somebody has read a version of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    edition: String,
    at: Timestamp,
}

/// Whoever has read a document as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reader {
    /// Who.
    pub principal: String,
    /// When it was marked.
    pub at: Timestamp,
}

/// Checks the name of a document.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn check_slug(slug: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let begins = slug.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    match slug.len() {
        1..=LONGEST_SLUG if begins && slug.chars().all(fits) => Ok(()),
        _ => Err(format!(
            "has 1 to {LONGEST_SLUG} small letters, digits and `-`, `_`, `.`, and begins with a letter or digit"
        )),
    }
}

/// What is told of a document that there is not.
#[must_use]
pub fn unknown(slug: &str) -> Error {
    Error::new(Code::DocumentUnknown, format!("there is no document `{}`", crate::markdown::line(slug)))
}

fn hash(title: &str, body: &str) -> String {
    let told = json!([title, body]).to_string();
    Sha256::digest(told).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode<T: DeserializeOwned>(record: &Record) -> Result<T> {
    serde_json::from_str(&record.value)
        .map_err(|error| Error::new(Code::JournalBroken, "a document cannot be decoded").because(error))
}

/// The documents of a node, as people have them.
#[derive(Debug, Clone)]
pub struct Shelf {
    journal: Journal,
    node: String,
}

impl Shelf {
    /// Those of a node.
    #[must_use]
    pub fn new(journal: Journal, node: &str) -> Self {
        Self { journal, node: node.to_owned() }
    }

    /// Every document, by slug.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn all(&self) -> Result<Vec<Document>> {
        self.journal.records(DOCUMENT, Some(&self.node)).await?.iter().map(decode).collect()
    }

    /// The document with a slug, where there is one.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn find(&self, slug: &str) -> Result<Option<Document>> {
        self.journal.record(DOCUMENT, &self.node, slug).await?.as_ref().map(decode).transpose()
    }

    /// The document with a slug.
    ///
    /// # Errors
    /// `MC-P035` where there is none.
    pub async fn get(&self, slug: &str) -> Result<Document> {
        self.find(slug).await?.ok_or_else(|| unknown(slug))
    }

    /// Who has read a document as it is.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn readers(&self, document: &Document) -> Result<Vec<Reader>> {
        let prefix = format!("{}/", document.slug);
        let look = Look::Beneath { kind: MARK.to_owned(), prefix: prefix.clone() };
        let records = self.journal.look(&self.node, vec![look]).await?.into_iter().flatten();
        let edition = document.edition();
        let mut readers = Vec::new();
        for record in records {
            let mark: Mark = decode(&record)?;
            let principal = record.name.strip_prefix(&prefix).unwrap_or_default().to_owned();
            if mark.edition == edition {
                readers.push(Reader { principal, at: mark.at });
            }
        }
        Ok(readers)
    }

    /// Whether somebody has read a document as it is.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn has_read(&self, document: &Document, principal: &Principal) -> Result<bool> {
        let record = self.journal.record(MARK, &self.node, &mark_name(&document.slug, principal)).await?;
        let mark: Option<Mark> = record.as_ref().map(decode).transpose()?;
        Ok(mark.is_some_and(|mark| mark.edition == document.edition()))
    }

    /// Marks a document as read by somebody, or as not read. `version` is the one that was looked at.
    ///
    /// # Errors
    /// `MC-P035` where there is none, and `MC-P032` where another version is there by now.
    pub async fn mark(
        &self,
        slug: &str,
        version: Option<u64>,
        principal: &Principal,
        is_read: bool,
    ) -> Result<Document> {
        let document = self.get(slug).await?;
        if version.is_some_and(|version| version != document.version) {
            let message = format!("`{slug}` has version {} by now", document.version);
            return Err(Error::new(Code::ApprovalChanged, message)
                .hint(format!("look at it again: `mcrun docs show {slug}`")));
        }
        let mark = Mark { edition: document.edition(), at: self.journal.clock().now() };
        let outcome = if is_read { "read" } else { "unread" };
        let told = New::of(Kind::Answer, &principal.to_string(), "docs.mark", slug, outcome)
            .with(json!({ "version": document.version, "hash": document.hash }));
        let write = Write {
            kind: MARK.to_owned(),
            node: self.node.clone(),
            name: mark_name(slug, principal),
            value: is_read.then(|| json!(mark).to_string()),
            expect: Expect::Any,
        };
        self.journal.tell_audited(Vec::new(), vec![write], vec![told]).await?;
        Ok(document)
    }

    /// Deletes a document and every mark on it.
    ///
    /// # Errors
    /// `MC-P035` where there is none.
    pub async fn delete(&self, slug: &str, principal: &Principal) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let record = self.journal.record(DOCUMENT, &self.node, slug).await?;
            let record = record.ok_or_else(|| unknown(slug))?;
            let document: Document = decode(&record)?;
            let mut writes = vec![write(&self.node, slug, None, Expect::Value(record.value.into()))];
            writes.extend(without_marks(&self.journal, &self.node, slug).await?);
            let told = New::of(Kind::Decision, &principal.to_string(), "docs.delete", slug, "deleted")
                .with(json!({ "version": document.version, "hash": document.hash }));
            match self.journal.tell_audited(Vec::new(), writes, vec![told]).await {
                Err(journal::Error::Conflict { .. }) => {}
                other => return Ok(other?),
            }
        }
        Err(Error::new(Code::Internal, format!("the document `{slug}` changes again and again")).retryable())
    }
}

fn mark_name(slug: &str, principal: &Principal) -> String {
    format!("{slug}/{principal}")
}

fn write(node: &str, slug: &str, document: Option<&Document>, expect: Expect) -> Write {
    let value = document.map(|document| json!(document).to_string());
    Write { kind: DOCUMENT.to_owned(), node: node.to_owned(), name: slug.to_owned(), value, expect }
}

/// The writes that take every mark of a document away. They only tidy up: a mark on another version says nothing anyway.
async fn without_marks(journal: &Journal, node: &str, slug: &str) -> Result<Vec<Write>> {
    let look = Look::Beneath { kind: MARK.to_owned(), prefix: format!("{slug}/") };
    let marks = journal.look(node, vec![look]).await?.into_iter().flatten();
    let gone = |mark: Record| Write {
        kind: mark.kind,
        node: mark.node,
        name: mark.name,
        value: None,
        expect: Expect::Any,
    };
    Ok(marks.map(gone).collect())
}

fn key(context: &Context, slug: &str) -> String {
    context.key("document", None, slug)
}

async fn observe(context: &Context, slug: &str) -> Result<Option<Document>> {
    Shelf::new(context.journal.clone(), &context.node).find(slug).await
}

/// Who has the run of an effect done what it does.
async fn pusher(context: &Context) -> Result<Option<String>> {
    let run: RunId = context.run;
    Ok(context.journal.starter(&run).await?)
}
