//! Owns stop, start and restart.

use async_trait::async_trait;
use effect::units::Span;
use effect::{Act, Action, Applied, Change, Context, Declared, Ensured, FieldChange, Need, OnDoubt, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::ensure::call;
use super::{Container, World, check_node, key, rewind, sealed, unknown_container};
use crate::observed::State;

/// Stops a container and leaves it in place. One that does not run, or does not exist, is left alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The container's name.
    name: String,
    /// The service it belongs to, which no other run may change meanwhile; its own name unless given.
    service: Option<String>,
    /// The time it gets before it is killed; its own stop time-out unless given.
    timeout: Option<Span>,
    /// The node; the local one unless given.
    node: Option<String>,
}

/// Starts a container that exists. One that runs is left alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The container's name.
    name: String,
    /// The service it belongs to, which no other run may change meanwhile; its own name unless given.
    service: Option<String>,
    /// The node; the local one unless given.
    node: Option<String>,
}

/// Stops a container and starts it again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// The container's name.
    name: String,
    /// The service it belongs to, which no other run may change meanwhile; its own name unless given.
    service: Option<String>,
    /// The time it gets before it is killed; its own stop time-out unless given.
    timeout: Option<Span>,
    /// Leave it alone when it does not run, or does not exist: how undo repeats a restart.
    #[serde(default)]
    only_running: bool,
    /// What to do when it is unknown whether it took place; restarting once more unless given.
    on_doubt: Option<OnDoubt>,
    /// The node; the local one unless given.
    node: Option<String>,
}

macro_rules! container_effect {
    ($type:ty, $output:ty, $name:literal, $example:literal) => {
        impl Declared for $type {
            const NAME: &'static str = $name;
            const CAPABILITY: &'static str = "containers:write:NAME";
            const EXAMPLE: &'static str = $example;
            type World = World;
            type Output = $output;

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
    };
}

container_effect!(
    Stop,
    Ensured<Container>,
    "containers.stop",
    r#"containers.stop { name = "hello", timeout = "20s" }"#
);
container_effect!(
    Start,
    Ensured<Container>,
    "containers.start",
    r#"if containers.get { name = "hello" } then
    containers.start { name = "hello" }
end"#
);
container_effect!(
    Restart,
    (),
    "containers.restart",
    r#"if containers.get { name = "hello" } then
    containers.restart { name = "hello" }
end"#
);

pub(super) async fn observe(
    world: &World,
    context: &Context,
    node: Option<&str>,
    name: &str,
) -> Result<Option<Container>> {
    check_node(context, node)?;
    Ok(world.find(name).await?.map(|(_, observed)| sealed(observed, &context.sealer)))
}

fn state_change(before: &Container, to: State) -> Change<Container> {
    let field = FieldChange {
        path: "state".into(),
        before: Some(Value::from(before.state.as_str())),
        after: Some(Value::from(to.as_str())),
        replaces: false,
    };
    let mut change = Change::to(Action::Update, Some(Container { state: to, ..before.clone() }), vec![field]);
    change.unknown = vec!["pid", "started_at", "exit_code"];
    change
}

#[async_trait]
impl effect::Ensure for Stop {
    type State = Container;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, self.node.as_deref(), &self.name)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Container>> {
        observe(world, context, self.node.as_deref(), &self.name).await
    }

    async fn change(&self, _: &World, _: &Context, before: Option<&Container>) -> Result<Change<Container>> {
        Ok(match before {
            Some(live) if live.state != State::Exited && live.state != State::Created => {
                state_change(live, State::Exited)
            }
            _ => Change::none(before.cloned()),
        })
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Container>,
        _: &Change<Container>,
    ) -> Result<Applied<Container>> {
        let Some((driver, _)) = world.find(&self.name).await? else { return Ok(Applied::gone()) };
        call(driver.stop(&self.name, self.timeout.map(|span| span.0))).await?;
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

#[async_trait]
impl effect::Ensure for Start {
    type State = Container;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, self.node.as_deref(), &self.name)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Container>> {
        observe(world, context, self.node.as_deref(), &self.name).await
    }

    async fn change(&self, _: &World, _: &Context, before: Option<&Container>) -> Result<Change<Container>> {
        match before {
            None => Err(unknown_container(&self.name)),
            Some(live) if live.is_up() => Ok(Change::none(Some(live.clone()))),
            Some(live) => Ok(state_change(live, State::Running)),
        }
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Container>,
        _: &Change<Container>,
    ) -> Result<Applied<Container>> {
        let (driver, _) = world.find(&self.name).await?.ok_or_else(|| unknown_container(&self.name))?;
        let after = call(driver.start(&self.name)).await?;
        Ok(Applied::to(sealed(after, &context.sealer)))
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

#[async_trait]
impl Act for Restart {
    const REPEATS: bool = true;

    fn on_doubt(&self) -> OnDoubt {
        // A second restart does no harm, so nobody needs to be asked.
        self.on_doubt.unwrap_or(OnDoubt::Redo)
    }

    fn assume(&self) -> Option<Value> {
        Some(Value::Null)
    }

    async fn act(&self, world: &World, context: &Context, _key: &str) -> Result<()> {
        check_node(context, self.node.as_deref())?;
        let found = world.find(&self.name).await?;
        if self.only_running && !found.as_ref().is_some_and(|(_, live)| live.is_up()) {
            return Ok(());
        }
        let (driver, _) = found.ok_or_else(|| unknown_container(&self.name))?;
        call(driver.restart(&self.name, self.timeout.map(|span| span.0))).await
    }
}
