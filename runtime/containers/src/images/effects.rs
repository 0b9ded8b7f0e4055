//! Owns the effects on images: the glue between the corridor and engine, registry and archives.

mod build;
mod ensure;
mod list;
mod push;
mod remove;
mod resolve;
mod rewind;
mod state;
mod tag;
mod world;

use std::sync::Arc;

use effect::Registry;

pub use build::Build;
pub use ensure::{Ensure, Pull, remark_in};
pub use list::{List, listed};
pub use push::{Push, Pushed};
pub use remove::Remove;
pub use resolve::{Digest, Resolved};
pub use state::Image;
pub(crate) use state::{TO_BE_BUILT, planned_defaults};
pub use tag::Tag;
pub use world::{Auth, World};

/// Adds every effect of the primitive.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.ensure::<Ensure>(world);
    registry.ensure::<Build>(world);
    registry.ensure::<Tag>(world);
    registry.ensure::<Push>(world);
    registry.ensure::<Remove>(world);
    registry.read::<Digest>(world);
    registry.read::<List>(world);
}
