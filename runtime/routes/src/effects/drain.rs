//! Owns `routes.drain`.

use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use effect::{Context, Declared, Need, Result, Timestamp, Wait};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Target, World, check_node};
use crate::driver::{Drained, Feature, Standing, check_feature};
use crate::route::{Backend, Hostname, Path};

/// Waits until nothing is under way on a route, or at one of its back ends, and cuts what is left after `within`.
///
/// New requests come in all the while: `routes.pause` has them wait, and `routes.ensure` without a back end sends them
/// elsewhere (and drains that back end by itself).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// The port.
    #[schemars(range(min = 1))]
    listen: u16,
    /// The host name.
    hostname: Hostname,
    /// The path.
    #[serde(default)]
    path: Path,
    /// The back end; all of them unless given.
    backend: Option<Backend>,
    /// How long it may take; as the route's `drain` says unless given.
    within: Option<Span>,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Drain {
    fn target(&self) -> Target {
        Target::new(self.listen, &self.hostname, &self.path)
    }
}

impl Declared for Drain {
    const NAME: &'static str = "routes.drain";
    const CAPABILITY: &'static str = "routes:write:HOSTNAME";
    const EXAMPLE: &'static str = "if routes.get { listen = 8080, hostname = \"hello.mcrun.test\" } then\n    print(routes.drain({ listen = 8080, hostname = \"hello.mcrun.test\" }).cut)\nend";
    type World = World;
    type Output = Drained;

    fn subject(&self) -> String {
        match self.backend {
            None => self.target().subject(),
            Some(backend) => format!("{} at {backend}", self.target().subject()),
        }
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![self.target().need()])
    }

    fn lease(&self) -> Option<String> {
        Some(self.target().lease())
    }
}

#[async_trait]
impl Wait for Drain {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.within.map(|within| now.after(within.0))
    }

    fn promise(&self) -> Drained {
        Drained::default()
    }

    async fn admit(&self, world: &World, context: &Context) -> Result<()> {
        check_node(context, self.node.as_deref())?;
        check_feature(&*world.driver(context)?, Feature::Drain)?;
        let target = self.target();
        let standing = match context.overlay.get::<Standing>(&target.key(context)) {
            Some(planned) => planned,
            None => target.observe(world, context).await?,
        };
        standing.map(drop).ok_or_else(|| target.unknown())
    }

    async fn wait(&self, world: &World, context: &Context, until: Option<Timestamp>) -> Result<Drained> {
        check_node(context, self.node.as_deref())?;
        let (target, driver) = (self.target(), world.driver(context)?);
        check_feature(&*driver, Feature::Drain)?;
        let standing = driver.get(&target.0).await?.ok_or_else(|| target.unknown())?;
        let within: Duration = until.map_or(standing.route.drain.0, |until| until.since(context.now()));
        driver.drain(&target.0, self.backend, within).await
    }
}
