//! Owns `containers.pause`.

use async_trait::async_trait;
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, FieldChange, Need, Result,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::ensure::call;
use super::lifecycle::observe;
use super::{Container, World, key, rewind, sealed, unknown_container};
use crate::features::Feature;
use crate::observed::State;

/// Freezes everything inside a running container: nothing in it runs or writes until `containers.start` lets it go on. One
/// that does not run is left alone.
///
/// It takes a driver with the feature `pause`: podman and docker have it, native programs do not.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// The container's name.
    name: String,
    /// The service it belongs to, which no other run may change meanwhile; its own name unless given.
    service: Option<String>,
    /// The node; the local one unless given.
    node: Option<String>,
}

impl Declared for Pause {
    const NAME: &'static str = "containers.pause";
    const CAPABILITY: &'static str = "containers:write:NAME";
    const EXAMPLE: &'static str = r#"local web = containers.get { name = "web" }
if web and web.image then
    containers.pause { name = "web" }
    containers.start { name = "web" }
end"#;
    type World = World;
    type Output = Ensured<Container>;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("containers", &self.name)])
    }

    fn lease(&self) -> Option<String> {
        Some(self.service.clone().unwrap_or_else(|| self.name.clone()))
    }
}

#[async_trait]
impl Ensure for Pause {
    type State = Container;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, self.node.as_deref(), &self.name)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Container>> {
        observe(world, context, self.node.as_deref(), &self.name).await
    }

    async fn change(
        &self,
        world: &World,
        _: &Context,
        before: Option<&Container>,
    ) -> Result<Change<Container>> {
        let live = before.ok_or_else(|| unknown_container(&self.name))?;
        if !live.is_up() {
            return Ok(Change::none(Some(live.clone())));
        }
        if let Some((driver, _)) = world.find(&self.name).await?
            && !driver.features().contains(&Feature::Pause)
        {
            let message = format!("the {} driver cannot pause `{}`", driver.name(), self.name);
            return Err(Error::new(Code::Unsupported, message).hint("stop it instead: `containers.stop`"));
        }
        let field = FieldChange {
            path: "state".into(),
            before: Some(Value::from(live.state.as_str())),
            after: Some(Value::from(State::Paused.as_str())),
            replaces: false,
        };
        let after = Container { state: State::Paused, ..live.clone() };
        Ok(Change::to(Action::Update, Some(after), vec![field]))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Container>,
        _: &Change<Container>,
    ) -> Result<Applied<Container>> {
        let (driver, _) = world.find(&self.name).await?.ok_or_else(|| unknown_container(&self.name))?;
        call(driver.pause(&self.name)).await?;
        let after = driver.inspect(&self.name).await?.map(|observed| sealed(observed, &context.sealer));
        Ok(Applied { after, writes: Vec::new() })
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
