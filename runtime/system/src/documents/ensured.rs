//! Owns what the effects on one document share: how it changes, how it is written, and how it comes back.

use effect::{Action, Applied, Change, Code, Context, Error, FieldChange, Result};
use journal::Expect;
use serde_json::json;

use super::{DOCUMENT, Document, MOST, decode, without_marks, write};

/// What is the same of every effect on one document, which says by methods of its own what it plans (`planned`) and how that is
/// carried out (`carry_out`). The impl is whole in here, as `async_trait` sees no macros within.
macro_rules! ensures_document {
    ($effect:ident) => {
        #[async_trait::async_trait]
        impl effect::Ensure for $effect {
            type State = Document;
            const OWN_RECORDS: bool = true;
            const UNDOABLE: bool = true;

            fn key(&self, context: &Context) -> String {
                $crate::documents::key(context, &self.slug)
            }

            async fn observe(&self, _: &World, context: &Context) -> Result<Option<Document>> {
                $crate::documents::observe(context, &self.slug).await
            }

            async fn change(
                &self,
                _: &World,
                context: &Context,
                before: Option<&Document>,
            ) -> Result<Change<Document>> {
                Ok(self.planned(context, before))
            }

            async fn apply(
                &self,
                _: &World,
                context: &Context,
                before: Option<&Document>,
                _: &Change<Document>,
            ) -> Result<Applied<Document>> {
                self.carry_out(context, before).await
            }

            async fn rewind(
                &self,
                _: &World,
                _: &Context,
                now: Option<&Document>,
                earlier: Option<&Document>,
            ) -> Result<Change<Document>> {
                Ok($crate::documents::ensured::rewind(now, earlier))
            }

            async fn apply_rewind(
                &self,
                _: &World,
                context: &Context,
                now: Option<&Document>,
                earlier: Option<&Document>,
                _: &Change<Document>,
            ) -> Result<Applied<Document>> {
                // Its text counts: it comes back as a version that nobody has read.
                $crate::documents::ensured::put(context, &self.slug, now, earlier.cloned()).await
            }
        }
    };
}
pub(super) use ensures_document;

/// How a document changes.
pub(super) fn compare(before: Option<&Document>, after: Option<Document>) -> Change<Document> {
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

/// Writes a document in the place of `before`.
pub(super) async fn put(
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
    let there: Option<Document> = record.as_ref().map(decode).transpose()?;
    let last = there.as_ref().or(before).map_or(0, |there| there.version);
    let after = after.map(|after| Document { version: last + 1, ..after });
    let expect = record.map_or(Expect::Absent, |record| Expect::Value(record.value.into()));
    let mut writes = vec![write(&context.node, slug, after.as_ref(), expect)];
    writes.extend(without_marks(&context.journal, &context.node, slug).await?);
    Ok(Applied { after, writes })
}

/// What bringing back `earlier` changes: its text counts, its version does not come back.
pub(super) fn rewind(now: Option<&Document>, earlier: Option<&Document>) -> Change<Document> {
    let is_same = now.map(|now| &now.hash) == earlier.map(|earlier| &earlier.hash);
    if is_same { Change::none(now.cloned()) } else { compare(now, earlier.cloned()) }
}
