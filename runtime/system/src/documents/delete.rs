//! Owns `docs.delete`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, Need, Result};
use journal::Expect;
use schemars::JsonSchema;
use serde::Deserialize;

use super::push::{bring_back, rewind};
use super::{Document, check_slug, key, observe, without_marks, write};
use crate::World;

/// Makes a document not be there, with every mark on it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// What it is called.
    slug: String,
}

impl Declared for Delete {
    const NAME: &'static str = "docs.delete";
    const CAPABILITY: &'static str = "docs:write:SLUG";
    const EXAMPLE: &'static str = "docs.delete { slug = \"switch-2025\" }";
    type World = World;
    type Output = Ensured<Document>;

    fn subject(&self) -> String {
        self.slug.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        check_slug(&self.slug)
            .map_err(|why| Error::new(Code::Argument, format!("`docs.delete`: field `slug` {why}")))?;
        Ok(vec![Need::write("docs", &self.slug)])
    }
}

#[async_trait]
impl Ensure for Delete {
    type State = Document;
    const OWN_RECORDS: bool = true;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, &self.slug)
    }

    async fn observe(&self, _: &World, context: &Context) -> Result<Option<Document>> {
        observe(context, &self.slug).await
    }

    async fn change(&self, _: &World, _: &Context, before: Option<&Document>) -> Result<Change<Document>> {
        Ok(match before {
            Some(_) => Change::to(Action::Remove, None, Vec::new()),
            None => Change::none(None),
        })
    }

    async fn apply(
        &self,
        _: &World,
        context: &Context,
        _: Option<&Document>,
        _: &Change<Document>,
    ) -> Result<Applied<Document>> {
        let mut writes = vec![write(&context.node, &self.slug, None, Expect::Any)];
        writes.extend(without_marks(&context.journal, &context.node, &self.slug).await?);
        Ok(Applied::gone().writing(writes))
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
