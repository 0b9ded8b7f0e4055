//! Owns `routes.pause` and `routes.resume`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::state::differences;
use super::{Target, World, check_node};
use crate::driver::{Feature, Standing, check_feature};
use crate::route::{Hostname, Path};

/// Has new requests of a route wait, instead of failing, until it is resumed; what is under way goes on. After the route's
/// `timeouts.pause`, or where more than `limits.waiting` wait, they get 503.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
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

/// Lets the requests of a route that was paused go on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resume {
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

impl Target {
    async fn set_paused(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Standing>,
        paused: bool,
    ) -> Result<Change<Standing>> {
        let before = before.ok_or_else(|| self.unknown())?;
        check_feature(&*world.driver(context)?, Feature::Pause)?;
        if before.paused == paused {
            return Ok(Change::none(Some(before.clone())));
        }
        let after = Standing { route: before.route.clone(), paused };
        let fields = differences(Some(before), Some(&after));
        Ok(Change::to(Action::Update, Some(after), fields))
    }
}

macro_rules! sets_paused {
    ($effect:ident, $name:literal, $example:literal, $paused:literal) => {
        impl $effect {
            fn target(&self) -> Target {
                Target::new(self.listen, &self.hostname, &self.path)
            }
        }

        impl Declared for $effect {
            const NAME: &'static str = $name;
            const CAPABILITY: &'static str = "routes:write:HOSTNAME";
            const EXAMPLE: &'static str = $example;
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
        impl effect::Ensure for $effect {
            type State = Standing;
            const UNDOABLE: bool = true;

            fn key(&self, context: &Context) -> String {
                self.target().key(context)
            }

            async fn observe(&self, world: &World, context: &Context) -> Result<Option<Standing>> {
                check_node(context, self.node.as_deref())?;
                self.target().observe(world, context).await
            }

            async fn change(
                &self,
                world: &World,
                context: &Context,
                before: Option<&Standing>,
            ) -> Result<Change<Standing>> {
                self.target().set_paused(world, context, before, $paused).await
            }

            async fn apply(
                &self,
                world: &World,
                context: &Context,
                _: Option<&Standing>,
                change: &Change<Standing>,
            ) -> Result<Applied<Standing>> {
                self.target().apply(world, context, change.after.as_ref()).await
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
    };
}

sets_paused!(
    Pause,
    "routes.pause",
    "if routes.get { listen = 8080, hostname = \"hello.mcrun.test\" } then\n    routes.pause { listen = 8080, hostname = \"hello.mcrun.test\" }\nend",
    true
);
sets_paused!(
    Resume,
    "routes.resume",
    "if routes.get { listen = 8080, hostname = \"hello.mcrun.test\" } then\n    routes.resume { listen = 8080, hostname = \"hello.mcrun.test\" }\nend",
    false
);
