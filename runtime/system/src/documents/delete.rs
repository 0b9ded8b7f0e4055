//! Owns `docs.delete`.

use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Error, Need, Result};
use journal::Expect;
use schemars::JsonSchema;
use serde::Deserialize;

use super::ensured::ensures_document;
use super::{Document, check_slug, without_marks, write};
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

impl Delete {
    #[expect(clippy::unused_self, reason = "what goes is all the same: it is what `ensures_document` calls")]
    fn planned(&self, _: &Context, before: Option<&Document>) -> Change<Document> {
        match before {
            Some(_) => Change::to(Action::Remove, None, Vec::new()),
            None => Change::none(None),
        }
    }

    async fn carry_out(&self, context: &Context, _: Option<&Document>) -> Result<Applied<Document>> {
        let mut writes = vec![write(&context.node, &self.slug, None, Expect::Any)];
        writes.extend(without_marks(&context.journal, &context.node, &self.slug).await?);
        Ok(Applied::gone().writing(writes))
    }
}

ensures_document!(Delete);
