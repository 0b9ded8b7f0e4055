//! Owns `files.directory`.

use async_trait::async_trait;
use effect::units::Mode;
use effect::{Applied, Change, Context, Declared, Ensure, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::object::Object;
use super::owner::Wish;
use super::store::{self, Wanted};
use super::write::{apply, observe};
use super::{key, resolve, rewind};
use crate::World;
use crate::node::only_local;

/// Makes a folder exist with a mode and an owner.
///
/// What lies in it is left alone. Mode and owner of an existing folder stay as they are unless given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The path, absolute or relative to the script's folder. Links and `..` are refused.
    path: String,
    /// The permission bits, such as `"0750"`; a new folder has `"0755"` unless given.
    mode: Option<Mode>,
    /// User and group, by number or name: `"850:850"`, `"mcq"`.
    owner: Option<Wish>,
    /// Whether missing folders above it are made.
    #[serde(default)]
    parents: bool,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Directory {
    const NAME: &'static str = "files.directory";
    const CAPABILITY: &'static str = "files:write:PATH";
    const EXAMPLE: &'static str = "files.directory { path = \"data\", mode = \"0750\" }";
    type World = World;
    type Output = Ensured<Object>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("files", resolve(world.root(), &self.path)?.to_string_lossy())])
    }
}

impl Directory {
    fn wanted(&self, world: &World) -> Result<Wanted> {
        Ok(Wanted {
            path: resolve(world.root(), &self.path)?,
            content: None,
            mode: self.mode,
            new_mode: Mode(0o755),
            owner: store::owner(self.owner.as_ref())?,
            parents: self.parents,
            secret: false,
        })
    }
}

#[async_trait]
impl Ensure for Directory {
    type State = Object;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, self.node.as_deref(), &self.path)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Object>> {
        only_local(context, self.node.as_deref())?;
        observe(self.wanted(world)?, context).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Object>,
    ) -> Result<Change<Object>> {
        self.wanted(world)?.change(context, before)
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Object>,
        change: &Change<Object>,
    ) -> Result<Applied<Object>> {
        apply(self.wanted(world)?, context, before, change).await
    }

    async fn observe_whole(&self, world: &World, context: &Context) -> Result<Option<Object>> {
        rewind::observe(resolve(world.root(), &self.path)?, context).await
    }

    async fn rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Object>,
        earlier: Option<&Object>,
    ) -> Result<Change<Object>> {
        rewind::compare(context, now, earlier)
    }

    async fn apply_rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Object>,
        earlier: Option<&Object>,
        change: &Change<Object>,
    ) -> Result<Applied<Object>> {
        rewind::apply(context, now, earlier, change).await
    }
}
