//! Owns `images.remove`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::reference::Reference;
use super::state::{self, Image};
use super::world::World;
use crate::effects::{call, check_node};

/// Takes a name of an image away, and the image itself with its last name. One that a container uses stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The image, by tag or digest.
    image: String,
    /// The node; the local one unless given.
    node: Option<String>,
}

impl Declared for Remove {
    const NAME: &'static str = "images.remove";
    const CAPABILITY: &'static str = "images:write:IMAGE";
    const EXAMPLE: &'static str = r#"if #images.list { name = "localhost/web" } > 0 then
    images.remove { image = "localhost/web:v1.1.0" }
end"#;
    type World = World;
    type Output = Ensured<Image>;

    fn subject(&self) -> String {
        self.image.clone()
    }

    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("images", self.reference()?.tagged())])
    }
}

impl Remove {
    fn reference(&self) -> Result<Reference> {
        self.image.parse()
    }
}

#[async_trait]
impl effect::Ensure for Remove {
    type State = Image;

    fn key(&self, context: &Context) -> String {
        match self.reference() {
            Ok(reference) => state::key(context, self.node.as_deref(), &reference),
            Err(_) => context.key("images", None, &self.image),
        }
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Image>> {
        check_node(context, self.node.as_deref())?;
        let reference = self.reference()?;
        let held = world.engine(Self::NAME)?.inspect(&reference.exact()).await?;
        Ok(held.map(|held| Image::of(&held, &reference)))
    }

    async fn change(
        &self,
        world: &World,
        _context: &Context,
        before: Option<&Image>,
    ) -> Result<Change<Image>> {
        world.engine(Self::NAME)?;
        let Some(image) = before else { return Ok(Change::none(None)) };
        let change = Change::to(Action::Remove, None, Vec::new());
        Ok(match image.digest {
            Some(_) => change,
            None => change.note("no registry is known to have it: what is removed is lost"),
        })
    }

    async fn apply(
        &self,
        world: &World,
        _context: &Context,
        _before: Option<&Image>,
        _change: &Change<Image>,
    ) -> Result<Applied<Image>> {
        let (engine, reference) = (world.engine(Self::NAME)?, self.reference()?);
        let held = engine.inspect(&reference.exact()).await?.unwrap_or_default();
        call(engine.remove(&reference.exact())).await?;
        let is_last = held.tags.iter().all(|tag| *tag == reference.tagged());
        for digest in held.digests.iter().filter(|_| is_last && reference.digest.is_none()) {
            // Names that a pull has left. One whose image a container uses stays with it.
            match call(engine.remove(digest)).await {
                Err(error) if error.code != Code::EngineFailed => return Err(error),
                _ => {}
            }
        }
        Ok(Applied::gone())
    }
}
