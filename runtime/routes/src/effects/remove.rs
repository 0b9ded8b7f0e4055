//! Owns `routes.remove`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::state::differences;
use super::{Target, World, check_node};
use crate::driver::Standing;
use crate::route::{Hostname, Path};

/// Makes sure that there is no such route. On return nothing runs over it any more: what did has ended by itself or, after
/// the route's `drain`, was cut.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The port.
    #[schemars(range(min = 1))]
    listen: u16,
    /// The host name.
    hostname: Hostname,
    /// The path.
    #[serde(default)]
    path: Path,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Remove {
    fn target(&self) -> Target {
        Target::new(self.listen, &self.hostname, &self.path)
    }
}

impl Declared for Remove {
    const NAME: &'static str = "routes.remove";
    const CAPABILITY: &'static str = "routes:write:HOSTNAME";
    const EXAMPLE: &'static str = "routes.remove { listen = 8080, hostname = \"hello.mcrun.test\" }";
    type World = World;
    type Output = Ensured<Standing>;

    fn subject(&self) -> String {
        self.target().subject()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![self.target().need()])
    }

    fn lease(&self) -> Option<String> {
        Some(self.target().lease())
    }
}

#[async_trait]
impl effect::Ensure for Remove {
    type State = Standing;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        self.target().key(context)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Standing>> {
        check_node(context, self.node.as_deref())?;
        self.target().observe(world, context).await
    }

    async fn change(&self, _: &World, _: &Context, before: Option<&Standing>) -> Result<Change<Standing>> {
        Ok(match before {
            None => Change::none(None),
            Some(_) => Change::to(Action::Remove, None, differences(before, None)),
        })
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Standing>,
        _: &Change<Standing>,
    ) -> Result<Applied<Standing>> {
        self.target().apply(world, context, None).await
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&Standing>,
        earlier: Option<&Standing>,
    ) -> Result<Change<Standing>> {
        Ok(self.target().rewound(now, earlier))
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Standing>,
        earlier: Option<&Standing>,
        _: &Change<Standing>,
    ) -> Result<Applied<Standing>> {
        self.target().apply(world, context, earlier).await
    }
}
