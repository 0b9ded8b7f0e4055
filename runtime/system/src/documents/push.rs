//! Owns `docs.push`.

use effect::{Applied, Change, Code, Context, Declared, Ensured, Error, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::ensured::{compare, ensures_document, put};
use super::{Document, LONGEST_BODY, LONGEST_TITLE, check_slug, hash, pusher};
use crate::World;
use crate::markdown::is_sly;

/// Puts a document where people read it: `mcrun docs show SLUG`. A text that is there under the same slug is replaced, and has
/// been read by nobody then; the same text again changes nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// What it is called in addresses and commands: small letters, digits and `-`, `_`, `.`.
    slug: String,
    /// Its title: one line.
    title: String,
    /// Markdown. Markup of HTML is shown as it stands; links lead to the web or to mail.
    body: String,
}

impl Declared for Push {
    const NAME: &'static str = "docs.push";
    const CAPABILITY: &'static str = "docs:write:SLUG";
    const EXAMPLE: &'static str = "docs.push { slug = \"switch-2026\", title = \"The switch\", body = \"# What happens\\n\\nFirst the old one …\" }";
    type World = World;
    type Output = Ensured<Document>;

    fn subject(&self) -> String {
        self.slug.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        let wrong = |field: &str, why: String| {
            Error::new(Code::Argument, format!("`docs.push`: field `{field}` {why}"))
        };
        check_slug(&self.slug).map_err(|why| wrong("slug", why))?;
        let letters = self.title.chars().count();
        if !(1..=LONGEST_TITLE).contains(&letters) || self.title.chars().any(is_sly) {
            return Err(wrong("title", format!("is one line of 1 to {LONGEST_TITLE} letters")));
        }
        if self.body.len() > LONGEST_BODY {
            let why = format!("has {} bytes, the most is {LONGEST_BODY}", self.body.len());
            return Err(wrong("body", why));
        }
        Ok(vec![Need::write("docs", &self.slug)])
    }
}

impl Push {
    fn document(&self, context: &Context, before: Option<&Document>) -> Document {
        Document {
            slug: self.slug.clone(),
            title: self.title.clone(),
            body: self.body.clone(),
            version: before.map_or(1, |before| before.version + 1),
            hash: hash(&self.title, &self.body),
            pushed_by: None,
            run: Some(context.run.to_string()),
            at: context.now().0 as f64 / 1000.0,
        }
    }

    fn planned(&self, context: &Context, before: Option<&Document>) -> Change<Document> {
        match before {
            Some(before) if before.hash == hash(&self.title, &self.body) => {
                Change::none(Some(before.clone()))
            }
            _ => {
                let change = compare(before, Some(self.document(context, before)));
                Change { unknown: vec!["pushed_by", "at"], ..change }
            }
        }
    }

    async fn carry_out(&self, context: &Context, before: Option<&Document>) -> Result<Applied<Document>> {
        let pushed_by = pusher(context).await?;
        let after = Document { pushed_by, ..self.document(context, before) };
        put(context, &self.slug, before, Some(after)).await
    }
}

ensures_document!(Push);
