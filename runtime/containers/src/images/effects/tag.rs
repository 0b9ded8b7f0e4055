//! Owns `images.tag`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Error, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::reference::Reference;
use super::rewind;
use super::state::{self, Image, TO_BE_BUILT};
use super::world::{World, with_cached};
use crate::effects::{call, check_node};

/// Gives an image of the node another name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// The image that is here, by tag or digest.
    image: String,
    /// The name that it gets as well: `registry.example/team/web:v1.2.0`.
    tag: String,
    /// Take the tag `latest`, or no tag, all the same.
    #[serde(default)]
    allow_latest: bool,
    /// The node; the local one unless given.
    node: Option<String>,
}

impl Declared for Tag {
    const NAME: &'static str = "images.tag";
    const CAPABILITY: &'static str = "images:write:IMAGE";
    const EXAMPLE: &'static str = r#"if #images.list { name = "localhost/web" } > 0 then
    images.tag { image = "localhost/web:v1.2.0", tag = "registry.example/team/web:v1.2.0" }
end"#;
    type World = World;
    type Output = Ensured<Image>;

    fn subject(&self) -> String {
        self.tag.clone()
    }

    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("images", self.named()?.tagged()), Need::read("images", self.source()?.tagged())])
    }
}

impl Tag {
    fn source(&self) -> Result<Reference> {
        self.image.parse()
    }

    fn named(&self) -> Result<Reference> {
        let named: Reference = self.tag.parse()?;
        if named.digest.is_some() {
            return Err(Error::new(
                Code::Argument,
                "field `tag`: a digest belongs to the content and cannot be given",
            ));
        }
        Ok(named)
    }
}

#[async_trait]
impl effect::Ensure for Tag {
    type State = Image;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        match self.named() {
            Ok(named) => state::key(context, self.node.as_deref(), &named),
            Err(_) => context.key("images", None, &self.tag),
        }
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Image>> {
        check_node(context, self.node.as_deref())?;
        let named = self.named()?;
        let held = world.engine(Self::NAME)?.inspect(&named.tagged()).await?;
        Ok(held.map(|held| Image::of(&held, &named)))
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Image>,
    ) -> Result<Change<Image>> {
        let (source, named) = (self.source()?, self.named()?);
        named.check_fixed(&self.tag, self.allow_latest)?;
        let engine = world.engine(Self::NAME)?;
        let planned =
            context.overlay.get::<Image>(&state::key(context, self.node.as_deref(), &source)).flatten();
        let (id, defaults) = match planned {
            Some(planned) => (planned.id, state::planned_defaults(context, &self.image)),
            None => match engine.inspect(&source.exact()).await? {
                Some(held) => (held.id, held.defaults),
                None => {
                    let error =
                        Error::new(Code::ImageMissing, format!("image `{source}` is not on this node"))
                            .hint("`images.ensure` or `images.build` brings it");
                    return Err(with_cached(engine.as_ref(), &source, error).await);
                }
            },
        };
        if !id.is_empty() && before.is_some_and(|image| image.id == id) {
            return Ok(Change::none(before.cloned()));
        }
        if let Some(defaults) = defaults {
            state::plan_defaults(context, &named, &defaults);
        }
        let action = if before.is_some() { Action::Update } else { Action::Create };
        let shown = if id.is_empty() { TO_BE_BUILT } else { &id };
        let fields = state::field("id", before.map(|image| image.id.as_str()), shown);
        let name = named.tagged();
        let mut unknown = vec!["reference", "digest", "tags", "size", "created"];
        if id.is_empty() {
            unknown.push("id");
        }
        let after = Image {
            reference: name.clone(),
            name,
            id,
            digest: None,
            tags: Vec::new(),
            size: 0,
            created: None,
            cached: None,
        };
        let mut change = Change::to(action, Some(after), fields.into_iter().collect());
        change.unknown = unknown;
        Ok(change)
    }

    async fn apply(
        &self,
        world: &World,
        _context: &Context,
        _before: Option<&Image>,
        change: &Change<Image>,
    ) -> Result<Applied<Image>> {
        let named = self.named()?;
        let engine = world.engine(Self::NAME)?;
        let id = change.after.as_ref().map(|image| image.id.clone()).unwrap_or_default();
        call(engine.tag(&id, &named)).await?;
        let held = engine.inspect(&named.tagged()).await?;
        let held =
            held.ok_or_else(|| Error::new(Code::ImageMissing, format!("image `{named}` is gone again")))?;
        Ok(Applied::to(Image::of(&held, &named)))
    }

    async fn rewind(
        &self,
        world: &World,
        _context: &Context,
        now: Option<&Image>,
        earlier: Option<&Image>,
    ) -> Result<Change<Image>> {
        rewind::rewind(world.engine(Self::NAME)?.as_ref(), &self.named()?, now, earlier).await
    }

    async fn apply_rewind(
        &self,
        world: &World,
        _context: &Context,
        _now: Option<&Image>,
        earlier: Option<&Image>,
        _change: &Change<Image>,
    ) -> Result<Applied<Image>> {
        rewind::apply(world.engine(Self::NAME)?.as_ref(), &self.named()?, earlier).await
    }
}
