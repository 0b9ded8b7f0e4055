//! Owns `containers.remove`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::ensure::call;
use super::lifecycle::observe;
use super::rewind::lost;
use super::{Container, World, key, rewind};

/// Removes a container, stopping it first. Its volumes stay. One that does not exist is fine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The container's name.
    name: String,
    /// The service it belongs to, which no other run may change meanwhile; its own name unless given.
    service: Option<String>,
    /// Remove it although mcrun did not make it.
    #[serde(default)]
    foreign: bool,
    /// The node; the local one unless given.
    node: Option<String>,
}

impl Declared for Remove {
    const NAME: &'static str = "containers.remove";
    const CAPABILITY: &'static str = "containers:write:NAME";
    const EXAMPLE: &'static str = r#"containers.remove { name = "hello" }"#;
    type World = World;
    type Output = Ensured<Container>;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("containers", &self.name)])
    }

    fn lease(&self) -> Option<String> {
        Some(self.service.clone().unwrap_or_else(|| self.name.clone()))
    }
}

#[async_trait]
impl effect::Ensure for Remove {
    type State = Container;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, self.node.as_deref(), &self.name)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Container>> {
        observe(world, context, self.node.as_deref(), &self.name).await
    }

    async fn change(&self, _: &World, _: &Context, before: Option<&Container>) -> Result<Change<Container>> {
        let Some(live) = before else { return Ok(Change::none(None)) };
        if !live.managed && !self.foreign {
            return Err(effect::Error::new(
                effect::Code::ForeignContainer,
                format!("the container `{}` was not made by mcrun", self.name),
            )
            .hint("set `foreign = true` to remove it all the same"));
        }
        let change = Change::to(Action::Remove, None, Vec::new());
        Ok(change.losing(lost(&self.name)))
    }

    async fn apply(
        &self,
        world: &World,
        _: &Context,
        _: Option<&Container>,
        _: &Change<Container>,
    ) -> Result<Applied<Container>> {
        if let Some((driver, _)) = world.find(&self.name).await? {
            call(driver.stop(&self.name, None)).await?;
            call(driver.remove(&self.name, true)).await?;
        }
        Ok(Applied::gone())
    }

    async fn rewind(
        &self,
        world: &World,
        context: &Context,
        now: Option<&Container>,
        earlier: Option<&Container>,
    ) -> Result<Change<Container>> {
        rewind::compare(world, context, now, earlier).await
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        now: Option<&Container>,
        earlier: Option<&Container>,
        change: &Change<Container>,
    ) -> Result<Applied<Container>> {
        rewind::apply(world, context, now, earlier, change).await
    }
}
