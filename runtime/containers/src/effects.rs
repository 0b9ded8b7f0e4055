//! Owns the effects of the primitive: the glue between the corridor and the drivers. Drivers stay free of it.

mod ensure;
mod inspect;
mod lifecycle;
mod operate;
mod orphans;
mod pause;
mod recorded;
mod remove;
mod rewind;
mod stats;
mod steady;
mod world;

use std::sync::Arc;

use effect::{Code, Context, Error, Hidden, Registry, Result, Sealer};

use crate::observed::Observed;

pub(crate) use ensure::call;
pub use ensure::{Ensure, needs_of};
pub use inspect::{Get, List};
pub use lifecycle::{Restart, Start, Stop};
pub use operate::{ExecIn, Logs, WaitHealthy};
pub use orphans::{Left, Orphans, Release};
pub use pause::Pause;
pub use recorded::{Recorded, recorded};
pub use remove::Remove;
pub use stats::{Stats, Used};
pub use world::{Choice, Engines, Prober, World};

/// A live container with its environment sealed: the form that leaves the primitive.
pub type Container = Observed<Hidden>;

/// Adds every effect of the primitive.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.ensure::<Ensure>(world);
    registry.read::<Get>(world);
    registry.read::<List>(world);
    registry.read::<Stats>(world);
    registry.ensure::<Stop>(world);
    registry.ensure::<Start>(world);
    registry.ensure::<Pause>(world);
    registry.act::<Restart>(world);
    registry.ensure::<Remove>(world);
    registry.read::<Orphans>(world);
    registry.ensure::<Release>(world);
    registry.read::<Logs>(world);
    registry.act::<ExecIn>(world);
    registry.wait::<WaitHealthy>(world);
}

fn sealed(observed: Observed, sealer: &Sealer) -> Container {
    match observed.try_map_env(|value| Ok::<_, std::convert::Infallible>(sealer.hide(value.as_bytes()))) {
        Ok(container) => container,
    }
}

/// Opens the environment again, to compare a planned container like a live one.
fn opened(container: Container, sealer: &Sealer) -> Result<Observed> {
    container.try_map_env(|hidden| Ok(String::from_utf8_lossy(&sealer.open_hidden(&hidden)?).into_owned()))
}

/// The key of a container; only the local node is known to this version.
fn key(context: &Context, node: Option<&str>, name: &str) -> String {
    context.key("containers", node, name)
}

pub(crate) fn check_node(context: &Context, node: Option<&str>) -> Result<()> {
    match node {
        Some(node) if node != context.node => Err(Error::new(
            Code::Argument,
            format!("field `node`: `{node}` is not this node, `{}`", context.node),
        )
        .hint("leave `node` out to mean the local node")),
        _ => Ok(()),
    }
}

fn unknown_container(name: &str) -> Error {
    Error::new(Code::ContainerUnknown, format!("there is no container `{name}`"))
        .hint("`mcrun ps` lists what there is")
}
