//! Owns `docs.list` and `docs.read`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use effect::{Code, Context, Declared, Error, Need, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Document, Shelf, check_slug, key, unknown};
use crate::World;

/// Lists the documents.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {}

/// A document without its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// What it is called.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// Its version.
    pub version: u64,
    /// Who pushed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_by: Option<String>,
    /// When, in seconds since 1970.
    pub at: f64,
}

impl Declared for List {
    const NAME: &'static str = "docs.list";
    const CAPABILITY: &'static str = "docs:read:*";
    const EXAMPLE: &'static str =
        "for _, document in docs.list() do\n    print(document.slug, document.title)\nend";
    type World = World;
    type Output = Vec<Listed>;

    fn subject(&self) -> String {
        String::new()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("docs", "*")])
    }
}

#[async_trait]
impl effect::Read for List {
    async fn read(&self, _: &World, context: &Context) -> Result<Vec<Listed>> {
        let shelf = Shelf::new(context.journal.clone(), &context.node);
        let mut found: BTreeMap<String, Document> =
            shelf.all().await?.into_iter().map(|document| (key(context, &document.slug), document)).collect();
        for (key, planned) in context.overlay.beneath::<Document>(&key(context, "")) {
            match planned {
                Some(document) => drop(found.insert(key, document)),
                None => drop(found.remove(&key)),
            }
        }
        let listed = |document: Document| Listed {
            slug: document.slug,
            title: document.title,
            version: document.version,
            pushed_by: document.pushed_by,
            at: document.at,
        };
        Ok(found.into_values().map(listed).collect())
    }
}

/// Reads a document. That a script has it does not mean that somebody has read it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// What it is called.
    slug: String,
}

impl Declared for Read {
    const NAME: &'static str = "docs.read";
    const CAPABILITY: &'static str = "docs:read:SLUG";
    const EXAMPLE: &'static str =
        "if #docs.list() > 0 then\n    print(docs.read { slug = \"switch-2026\" }.body)\nend";
    type World = World;
    type Output = Document;

    fn subject(&self) -> String {
        self.slug.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        check_slug(&self.slug)
            .map_err(|why| Error::new(Code::Argument, format!("`docs.read`: field `slug` {why}")))?;
        Ok(vec![Need::read("docs", &self.slug)])
    }
}

#[async_trait]
impl effect::Read for Read {
    async fn read(&self, _: &World, context: &Context) -> Result<Document> {
        let found = match context.overlay.get::<Document>(&key(context, &self.slug)) {
            Some(planned) => planned,
            None => super::observe(context, &self.slug).await?,
        };
        found.ok_or_else(|| unknown(&self.slug))
    }
}
