//! Owns the effects of the primitive: the glue between the corridor and the drivers. Drivers stay free of it.

mod claims;
mod drain;
mod ensure;
mod inspect;
mod pause;
mod probe;
mod remove;
mod state;
mod world;

use std::sync::Arc;

use effect::{Code, Context, Error, Need, Registry, Result};

pub use drain::Drain;
pub use ensure::Ensure;
pub use inspect::{Abilities, Features, Get, List, Metrics};
pub use pause::{Pause, Resume};
pub use probe::{Network, Prober, at_least_one};
pub use remove::Remove;
pub use state::said;
pub use world::{Maker, Means, World};

use crate::driver::Standing;
use crate::route::{Hostname, Key, Path};

/// Adds every effect of the primitive.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.ensure::<Ensure>(world);
    registry.ensure::<Remove>(world);
    registry.ensure::<Pause>(world);
    registry.ensure::<Resume>(world);
    registry.wait::<Drain>(world);
    registry.read::<Get>(world);
    registry.read::<List>(world);
    registry.read::<Metrics>(world);
    registry.read::<Features>(world);
}

/// The object of an effect: a route by what it is known by.
#[derive(Debug, Clone)]
struct Target(Key);

impl Target {
    fn new(listen: u16, hostname: &Hostname, path: &Path) -> Self {
        Self(Key { listen, hostname: hostname.clone(), path: path.clone() })
    }

    /// `mcq.example.net:443/api`.
    fn subject(&self) -> String {
        self.0.to_string()
    }

    fn key(&self, context: &Context) -> String {
        key(context, &self.0)
    }

    fn need(&self) -> Need {
        Need::write("routes", self.0.hostname.as_str())
    }

    /// One run at a time changes what a host name has at a port, so that what it sees of claims holds until it is done.
    fn lease(&self) -> String {
        format!("route-{}:{}", self.0.hostname, self.0.listen)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Standing>> {
        world.driver(context)?.get(&self.0).await
    }

    fn unknown(&self) -> Error {
        unknown(&self.0)
    }
}

/// The key of a route among the objects of a plan.
fn key(context: &Context, route: &Key) -> String {
    context.key("routes", None, &route.to_string())
}

/// The refusal where there is no such route.
#[must_use]
pub fn unknown(key: &Key) -> Error {
    Error::new(Code::RouteUnknown, format!("there is no route `{key}`"))
}

fn check_node(context: &Context, node: Option<&str>) -> Result<()> {
    match node {
        Some(node) if node != context.node => Err(Error::new(
            Code::NodeUnknown,
            format!("`{node}` is another node; this one is `{}`", context.node),
        )
        .hint("leave `node` out, or run the script there")),
        _ => Ok(()),
    }
}
