//! Owns `containers.orphans` and `containers.release`: what the engine has lost, and ending it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use effect::{Action, Applied, Change, Context, Declared, Ensured, Need, Read, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ensure::call;
use super::{World, check_node};
use crate::driver::Driver;
use crate::orphans::{End, Orphan};
use crate::spec::{Port, Spec};

/// What a container gets to end, as engines give it.
const USUAL: Duration = Duration::from_secs(10);

/// Lists what is left of containers that their engine no longer knows, as after its database was lost: processes that go on,
/// storage that holds a name. Those that the script may see, in the order of their names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Orphans {
    /// The node; the local one unless given.
    node: Option<String>,
}

/// Ends what is left of a container that its engine no longer knows: its processes, its mounts, its published ports, the
/// storage that holds its name. Its volumes stay as they are. One that the engine knows is left alone.
///
/// Until then `containers.ensure` refuses to make a container of this name, or another writer on its volumes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The container's name.
    name: String,
    /// The service it belongs to, which no other run may change meanwhile; its own name unless given.
    service: Option<String>,
    /// The time it gets before it is killed; 10 seconds unless given.
    timeout: Option<Span>,
    /// The ports that it published, as `containers.ensure` was given them: netavark takes back those alone that it is told.
    /// Plugins of CNI know them by themselves.
    #[serde(default)]
    ports: Vec<Port>,
    /// The node; the local one unless given.
    node: Option<String>,
}

/// What is left under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Left {
    /// The name.
    pub name: String,
    /// More than one where an engine was lost more than once.
    pub orphans: Vec<Orphan>,
}

impl World {
    /// What the engines have lost. One that was only looked for, and does not answer, has lost nothing that counts.
    async fn orphans(&self) -> Result<Vec<(Arc<dyn Driver>, Orphan)>> {
        let mut found = Vec::new();
        for driver in self.drivers() {
            let Some(orphans) = self.tolerate(driver.orphans().await)? else { continue };
            found.extend(orphans.into_iter().map(|orphan| (Arc::clone(driver), orphan)));
        }
        Ok(found)
    }
}

/// Refuses a plan what the run would be refused: a container beside an orphan that an earlier effect does not end.
pub(super) async fn check_beside(driver: &dyn Driver, context: &Context, spec: &Spec) -> Result<()> {
    let is_ended = |orphan: &Orphan| {
        let key = context.key("orphans", spec.node.as_deref(), &orphan.name);
        context.overlay.get::<Left>(&key).is_some_and(|left| left.is_none())
    };
    let orphans = driver.orphans().await?;
    let conflict = orphans.iter().filter(|orphan| !is_ended(orphan)).find_map(|orphan| orphan.conflict(spec));
    conflict.map_or(Ok(()), Err)
}

impl Declared for Orphans {
    const NAME: &'static str = "containers.orphans";
    const CAPABILITY: &'static str = "containers:read:NAME";
    const EXAMPLE: &'static str = r#"for _, orphan in containers.orphans {} do
    log.warn(`{orphan.name} is not known to its engine`, { processes = #orphan.processes })
end"#;
    type World = World;
    type Output = Vec<Orphan>;

    fn subject(&self) -> String {
        String::new()
    }

    /// The list shows what may be read, so it needs nothing by itself.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for Orphans {
    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Orphan>> {
        check_node(context, self.node.as_deref())?;
        let found = world.orphans().await?.into_iter().map(|(_, orphan)| orphan);
        let is_shown = |orphan: &Orphan| context.policy.allows(&Need::read("containers", &orphan.name));
        Ok(found.filter(is_shown).collect())
    }
}

impl Declared for Release {
    const NAME: &'static str = "containers.release";
    const CAPABILITY: &'static str = "containers:write:NAME";
    const EXAMPLE: &'static str = r#"containers.release { name = "hello" }"#;
    type World = World;
    type Output = Ensured<Left>;

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
impl effect::Ensure for Release {
    type State = Left;

    fn key(&self, context: &Context) -> String {
        context.key("orphans", self.node.as_deref(), &self.name)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Left>> {
        check_node(context, self.node.as_deref())?;
        let found = world.orphans().await?.into_iter().map(|(_, orphan)| orphan);
        let orphans: Vec<Orphan> = found.filter(|orphan| orphan.name == self.name).collect();
        Ok((!orphans.is_empty()).then(|| Left { name: self.name.clone(), orphans }))
    }

    async fn change(&self, _: &World, _: &Context, before: Option<&Left>) -> Result<Change<Left>> {
        let Some(left) = before else { return Ok(Change::none(None)) };
        let processes: Vec<String> =
            left.orphans.iter().filter(|orphan| orphan.runs()).map(Orphan::processes).collect();
        let change = Change::to(Action::Remove, None, Vec::new());
        Ok(match processes.is_empty() {
            true => change.note("its storage is removed, so that its name is free"),
            false => change.note(format!("its processes are ended: {}", processes.join(", "))),
        })
    }

    async fn apply(
        &self,
        world: &World,
        _: &Context,
        _: Option<&Left>,
        _: &Change<Left>,
    ) -> Result<Applied<Left>> {
        let end = End { timeout: self.timeout.map_or(USUAL, |timeout| timeout.0), ports: &self.ports };
        for (driver, orphan) in world.orphans().await? {
            if orphan.name == self.name {
                call(driver.release(&orphan, &end)).await?;
            }
        }
        Ok(Applied::gone())
    }
}
