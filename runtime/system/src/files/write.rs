//! Owns `files.write`.

use async_trait::async_trait;
use effect::units::Mode;
use effect::{Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, Need, Result, Secret};
use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::object::{self, Object};
use super::owner::Wish;
use super::store::{self, Wanted};
use super::{blocking, diff, key, resolve, rewind};
use crate::World;
use crate::node::only_local;

/// Makes a file have a content, a mode and an owner.
///
/// The content appears at once: readers see the old file or the new one, never a part. Mode and owner of an existing
/// file stay as they are unless given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// The path, absolute or relative to the script's folder. Links and `..` are refused.
    path: String,
    /// The content as text. Either this or `secret`.
    content: Option<String>,
    /// A secret that becomes the content.
    secret: Option<Secret>,
    /// The permission bits, such as `"0640"`; a new file has `"0644"` unless given, one with a secret `"0600"`.
    mode: Option<Mode>,
    /// User and group, by number or name: `"850:850"`, `"mcq"`.
    owner: Option<Wish>,
    /// Whether missing folders above it are made.
    #[serde(default)]
    parents: bool,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Write {
    const NAME: &'static str = "files.write";
    const CAPABILITY: &'static str = "files:write:PATH";
    const EXAMPLE: &'static str =
        "files.write { path = \"hello.txt\", content = \"hello\\n\", mode = \"0640\" }";
    type World = World;
    type Output = Ensured<Object>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("files", resolve(world.root(), &self.path)?.to_string_lossy())])
    }
}

impl Write {
    async fn wanted(&self, world: &World, context: &Context) -> Result<Wanted> {
        let path = resolve(world.root(), &self.path)?;
        let content = match (&self.content, &self.secret) {
            (Some(text), None) => Zeroizing::new(text.clone().into_bytes()),
            (None, Some(secret)) => context.reveal(secret, &format!("files:{}", path.display())).await?,
            _ => return Err(Error::new(Code::Argument, "`files.write` takes either `content` or `secret`")),
        };
        let new_mode = if self.secret.is_some() { Mode(0o600) } else { Mode(0o644) };
        let owner = store::owner(self.owner.as_ref())?;
        let (mode, parents, secret) = (self.mode, self.parents, self.secret.is_some());
        Ok(Wanted { path, content: Some(content), mode, new_mode, owner, parents, secret })
    }
}

#[async_trait]
impl Ensure for Write {
    type State = Object;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, self.node.as_deref(), &self.path)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Object>> {
        only_local(context, self.node.as_deref())?;
        observe(self.wanted(world, context).await?, context).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Object>,
    ) -> Result<Change<Object>> {
        self.wanted(world, context).await?.change(context, before)
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Object>,
        change: &Change<Object>,
    ) -> Result<Applied<Object>> {
        apply(self.wanted(world, context).await?, context, before, change).await
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
        let mut change = rewind::compare(context, now, earlier)?;
        if self.secret.is_none() {
            change.diff = diff::between(context, now, change.after.as_ref());
        }
        Ok(change)
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

/// Looks at the path of what is wanted.
pub(super) async fn observe(wanted: Wanted, context: &Context) -> Result<Option<Object>> {
    let sealer = context.sealer.clone();
    blocking(move || object::observe(&wanted.path, &sealer, &wanted.keep(&sealer))).await
}

/// Brings about what is wanted.
pub(super) async fn apply(
    wanted: Wanted,
    context: &Context,
    before: Option<&Object>,
    change: &Change<Object>,
) -> Result<Applied<Object>> {
    let missing = || Error::new(Code::Internal, "a file's change has no outcome");
    let after = change.after.clone().ok_or_else(missing)?;
    let before = before.cloned();
    let token = store::token(context);
    blocking(move || {
        wanted.store(before.as_ref(), &after, &token)?;
        Ok(Applied::to(after.without_content()))
    })
    .await
}
