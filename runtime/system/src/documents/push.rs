//! Owns `docs.push`.

use async_trait::async_trait;
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, FieldChange, Need, Result,
};
use journal::Expect;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{DOCUMENT, Document, LONGEST_BODY, LONGEST_TITLE, MOST, check_slug, hash, key, observe, pusher};
use super::{without_marks, write};
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

/// How a document changes.
fn compare(before: Option<&Document>, after: Option<Document>) -> Change<Document> {
    let Some(after) = after else {
        return Change::to(Action::Remove, None, Vec::new());
    };
    let field = |path: &str, before: Option<String>, after: String| FieldChange {
        path: path.to_owned(),
        before: before.map(|before| json!(before)),
        after: Some(json!(after)),
        replaces: false,
    };
    let mut fields = Vec::new();
    if before.is_none_or(|before| before.title != after.title) {
        fields.push(field("title", before.map(|before| before.title.clone()), after.title.clone()));
    }
    if before.is_none_or(|before| before.body != after.body) {
        let bytes = |document: &Document| format!("{} bytes, {}", document.body.len(), &document.hash[..12]);
        fields.push(field("body", before.map(bytes), bytes(&after)));
    }
    let action = if before.is_some() { Action::Update } else { Action::Create };
    Change::to(action, Some(after), fields)
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
}

/// Writes a document in the place of `before`.
async fn put(
    context: &Context,
    slug: &str,
    before: Option<&Document>,
    after: Option<Document>,
) -> Result<Applied<Document>> {
    let record = context.journal.record(DOCUMENT, &context.node, slug).await?;
    if record.is_none() && context.journal.records(DOCUMENT, Some(&context.node)).await?.len() >= MOST {
        let message = format!("there are {MOST} documents already");
        return Err(Error::new(Code::TooLarge, message).hint("delete some: `mcrun docs delete SLUG`"));
    }
    // Versions only go up, also past what was pushed since this was compared.
    let there: Option<Document> = record.as_ref().map(super::decode).transpose()?;
    let last = there.as_ref().or(before).map_or(0, |there| there.version);
    let after = after.map(|after| Document { version: last + 1, ..after });
    let expect = record.map_or(Expect::Absent, |record| Expect::Value(record.value.into()));
    let mut writes = vec![write(&context.node, slug, after.as_ref(), expect)];
    writes.extend(without_marks(&context.journal, &context.node, slug).await?);
    Ok(Applied { after, writes })
}

#[async_trait]
impl Ensure for Push {
    type State = Document;
    const OWN_RECORDS: bool = true;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, &self.slug)
    }

    async fn observe(&self, _: &World, context: &Context) -> Result<Option<Document>> {
        observe(context, &self.slug).await
    }

    async fn change(
        &self,
        _: &World,
        context: &Context,
        before: Option<&Document>,
    ) -> Result<Change<Document>> {
        match before {
            Some(before) if before.hash == hash(&self.title, &self.body) => {
                Ok(Change::none(Some(before.clone())))
            }
            _ => {
                let change = compare(before, Some(self.document(context, before)));
                Ok(Change { unknown: vec!["pushed_by", "at"], ..change })
            }
        }
    }

    async fn apply(
        &self,
        _: &World,
        context: &Context,
        before: Option<&Document>,
        _: &Change<Document>,
    ) -> Result<Applied<Document>> {
        let pushed_by = pusher(context).await?;
        let after = Document { pushed_by, ..self.document(context, before) };
        put(context, &self.slug, before, Some(after)).await
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&Document>,
        earlier: Option<&Document>,
    ) -> Result<Change<Document>> {
        Ok(rewind(now, earlier))
    }

    async fn apply_rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Document>,
        earlier: Option<&Document>,
        _: &Change<Document>,
    ) -> Result<Applied<Document>> {
        bring_back(context, &self.slug, now, earlier).await
    }
}

/// What bringing back `earlier` changes: its text counts, its version does not come back.
pub(super) fn rewind(now: Option<&Document>, earlier: Option<&Document>) -> Change<Document> {
    let is_same = now.map(|now| &now.hash) == earlier.map(|earlier| &earlier.hash);
    if is_same { Change::none(now.cloned()) } else { compare(now, earlier.cloned()) }
}

/// Brings it back.
pub(super) async fn bring_back(
    context: &Context,
    slug: &str,
    now: Option<&Document>,
    earlier: Option<&Document>,
) -> Result<Applied<Document>> {
    put(context, slug, now, earlier.cloned()).await
}
