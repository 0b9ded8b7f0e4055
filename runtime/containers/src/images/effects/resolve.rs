//! Owns `images.digest`.

use async_trait::async_trait;
use effect::{Code, Context, Declared, Error, Need, Read, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::reference::Reference;
use super::state::Image;
use super::world::{Access, Auth, DEFAULT_ATTEMPTS, World, destination, is_down, missing, with_cached};
use crate::effects::check_node;

/// Asks the registry what a tag means now, without getting the image. Where the registry does not answer, what it means
/// on this node, with the reason in `cached`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// The image: `registry.example/team/web:v1.2.0`.
    image: String,
    /// Who asks.
    auth: Option<Auth>,
    /// The authority that signed the registry's certificate, a file in PEM.
    ca: Option<String>,
    /// How often an error that may pass is met with another attempt: 4 times in all unless given.
    #[schemars(range(min = 1, max = 10))]
    attempts: Option<u32>,
    /// The node; the local one unless given.
    node: Option<String>,
}

/// What a name means.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Resolved {
    /// The name that means exactly this content: tag and digest.
    pub reference: String,
    /// The digest; absent for an image of this node that no registry has.
    pub digest: Option<String>,
    /// By its content, as engines call it.
    pub id: String,
    /// Why this is what the node has: the registry did not answer. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<String>,
}

impl Declared for Digest {
    const NAME: &'static str = "images.digest";
    const CAPABILITY: &'static str = "images:read:IMAGE";
    const EXAMPLE: &'static str = r#"if #images.list { name = "localhost/web" } > 0 then
    print(images.digest({ image = "localhost/web:v1.2.0" }).reference)
end"#;
    type World = World;
    type Output = Resolved;

    fn subject(&self) -> String {
        self.image.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let mut needs = vec![Need::read("images", self.image.parse::<Reference>()?.tagged())];
        needs.extend(world.ca_needs(self.ca.as_ref(), None)?);
        Ok(needs)
    }
}

#[async_trait]
impl Read for Digest {
    async fn read(&self, world: &World, context: &Context) -> Result<Resolved> {
        check_node(context, self.node.as_deref())?;
        let reference: Reference = self.image.parse()?;
        if let Some(auth) = &self.auth {
            context.may_go(&auth.password, &destination(&reference))?;
        }
        let engine = world.engine(Self::NAME)?;
        let attempts = self.attempts.unwrap_or(DEFAULT_ATTEMPTS).clamp(1, 10);
        let access = Access { auth: self.auth.as_ref(), ca: self.ca.as_ref(), attempts };
        let down = if reference.is_local() {
            None
        } else {
            match world.resolve(context, engine.as_ref(), &reference, &access).await {
                Ok(remote) => {
                    return Ok(Resolved {
                        reference: reference.at(&remote.digest).to_string(),
                        digest: Some(remote.digest),
                        id: remote.id,
                        cached: None,
                    });
                }
                Err(error) if is_down(&error) => Some(error),
                Err(error) => return Err(with_cached(engine.as_ref(), &reference, error).await),
            }
        };
        let Some(held) = engine.inspect(&reference.exact()).await? else {
            let error = match &down {
                Some(error) => missing(&reference, error),
                None => Error::new(Code::ImageMissing, format!("image `{reference}` is not on this node")),
            };
            return Err(with_cached(engine.as_ref(), &reference, error).await);
        };
        let image = Image::of(&held, &reference);
        let why =
            |error: Error| format!("the registry does not answer: {}", error.cause.unwrap_or(error.message));
        Ok(Resolved { reference: image.reference, digest: image.digest, id: image.id, cached: down.map(why) })
    }
}
