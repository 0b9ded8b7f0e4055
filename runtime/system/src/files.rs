//! Owns files and folders that scripts read and describe. Every path is opened without following a single link.

mod directory;
mod object;
mod owner;
mod place;
mod read;
mod remove;
mod stat;
mod store;
mod template;
mod write;

use std::sync::Arc;

use effect::{Code, Context, Error, Registry, Result};

use crate::World;

pub use directory::Directory;
pub use object::{Kind, Object};
pub use read::Read;
pub use remove::Remove;
pub use stat::Stat;
pub use template::Template;
pub use write::Write;

pub(crate) use place::resolve;

/// Registers the effects on files.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.read::<Read>(world);
    registry.read::<Stat>(world);
    registry.ensure::<Write>(world);
    registry.ensure::<Template>(world);
    registry.ensure::<Directory>(world);
    registry.ensure::<Remove>(world);
}

/// The key of a path, the same for every effect on it.
fn key(context: &Context, node: Option<&str>, path: &str) -> String {
    let root = context.root.canonicalize().unwrap_or_else(|_| context.root.clone());
    let path = resolve(&root, path).unwrap_or_else(|_| root.join(path));
    context.key("files", node, &path.to_string_lossy())
}

/// Does file work on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(Code::Internal, "file work ended early").because(error))?
}
