//! Owns `images.list`.

use async_trait::async_trait;
use effect::{Context, Declared, Need, Read, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::engine::{Held, Images};
use super::super::reference::Reference;
use super::state::Image;
use super::world::World;
use crate::effects::check_node;

/// Lists the images of the node that the script may see, one entry a name, in the order of names. On a machine without
/// images the list is empty.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Only those of this repository: `registry.example/team/web`.
    name: Option<String>,
    /// The node; the local one unless given.
    node: Option<String>,
}

impl Declared for List {
    const NAME: &'static str = "images.list";
    const CAPABILITY: &'static str = "images:read:IMAGE";
    const EXAMPLE: &'static str = r#"for _, image in images.list {} do
    print(image.name, image.size)
end"#;
    type World = World;
    type Output = Vec<Image>;

    fn subject(&self) -> String {
        self.name.clone().unwrap_or_default()
    }

    /// The list shows what may be read, so it needs nothing by itself.
    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for List {
    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Image>> {
        check_node(context, self.node.as_deref())?;
        let name = self.name.as_ref().map(|name| name.parse::<Reference>()).transpose()?;
        let Some(engine) = world.lister() else { return Ok(Vec::new()) };
        let mut images = listed(engine.as_ref()).await?;
        for (_, planned) in context.overlay.beneath::<Image>(&context.key("images", self.node.as_deref(), ""))
        {
            if let Some(planned) = planned {
                images.retain(|image| image.name != planned.name);
                images.push(planned);
            }
        }
        images.retain(|image| {
            let is_of = |name: &Reference| {
                image.name.parse::<Reference>().is_ok_and(|image| image.name() == name.name())
            };
            name.as_ref().is_none_or(is_of) && context.policy.allows(&Need::read("images", &image.name))
        });
        images.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(images)
    }
}

/// Every image of the node that has a name, one entry a name, in the order of names.
///
/// # Errors
/// When the engine does not answer.
pub async fn listed(engine: &dyn Images) -> Result<Vec<Image>> {
    let mut images: Vec<Image> = engine.list().await?.iter().flat_map(of).collect();
    images.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(images)
}

/// One that was pulled by its digest alone is named by it.
fn of(held: &Held) -> Vec<Image> {
    let names = if held.tags.is_empty() { &held.digests } else { &held.tags };
    let references = names.iter().filter_map(|name| name.parse::<Reference>().ok());
    references.map(|reference| Image::of(held, &reference)).collect()
}
