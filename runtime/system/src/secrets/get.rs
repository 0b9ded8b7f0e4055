//! Owns `secrets.get`.

use async_trait::async_trait;
use effect::{Context, Declared, Need, Read, Result, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::World;

/// Returns a secret of `mcrun.toml` or of the sealed store as an opaque value, for fields that take secrets.
///
/// Its text never reaches the script. `..` joins it with text or another secret; `print` shows its name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Get(String);

impl Declared for Get {
    const NAME: &'static str = "secrets.get";
    const CAPABILITY: &'static str = "secrets:read:NAME";
    const EXAMPLE: &'static str = "local password = secrets.get(\"mcq/db\")\nprint(password)";
    type World = World;
    type Output = Secret;

    fn subject(&self) -> String {
        self.0.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("secrets", &self.0)])
    }
}

#[async_trait]
impl Read for Get {
    async fn read(&self, _: &World, context: &Context) -> Result<Secret> {
        let (version, value) = context.secrets.current(&self.0).await?;
        Ok(Secret::of_version(&self.0, version, context.sealer.tag(&value)))
    }
}
