//! Owns files and folders that scripts read and describe, single ones and whole trees. Every path is opened without
//! following a single link.

mod archive;
mod diff;
mod directory;
mod extract;
mod fresh;
mod object;
mod own;
mod owner;
mod place;
pub mod plain;
mod read;
mod remove;
pub(crate) mod rewind;
mod snapshot;
mod space;
mod stat;
mod store;
mod sync;
mod template;
mod tree;
mod write;

use std::path::Path;
use std::sync::Arc;

use effect::units::Size;
use effect::{Action, Applied, Change, Code, Context, Error, FieldChange, Registry, Result};
use serde_json::json;

use crate::World;

pub use archive::Archive;
pub use directory::Directory;
pub use extract::Extract;
pub use object::{Kind, Object};
pub use own::{Own, Owned};
pub use read::Read;
pub use remove::Remove;
pub use snapshot::{Restore, Snapshot, Snapshots, Verify};
pub use space::Space;
pub use stat::Stat;
pub use sync::Sync;
pub use template::Template;
pub use tree::Tree;
pub use write::Write;

pub(crate) use fresh::put_new;
pub use place::resolve;
pub(crate) use store::token;

/// Registers the effects on files.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.read::<Read>(world);
    registry.read::<Stat>(world);
    registry.read::<Space>(world);
    registry.ensure::<Write>(world);
    registry.ensure::<Template>(world);
    registry.ensure::<Directory>(world);
    registry.ensure::<Remove>(world);
    registry.ensure::<Own>(world);
    registry.ensure::<Sync>(world);
    registry.ensure::<Archive>(world);
    registry.ensure::<Extract>(world);
    registry.ensure::<Snapshot>(world);
    registry.ensure::<Restore>(world);
    registry.read::<Snapshots>(world);
    registry.read::<Verify>(world);
}

/// The key of a path, the same for every effect on it.
pub(crate) fn key(context: &Context, node: Option<&str>, path: &str) -> String {
    let root = context.root.canonicalize().unwrap_or_else(|_| context.root.clone());
    let path = resolve(&root, path).unwrap_or_else(|_| root.join(path));
    context.key("files", node, &path.to_string_lossy())
}

/// The key of a tree: what the effects on trees change is more than the folder itself.
fn tree_key(context: &Context, node: Option<&str>, path: &str) -> String {
    key(context, node, path).replacen("files:", "files-tree:", 1)
}

/// Whether the plan will have made the folder at `path`, itself or above something in it.
fn is_planned(context: &Context, path: &Path) -> bool {
    let key = context.key("files", None, &path.to_string_lossy());
    let within = format!("{}/", key.trim_end_matches('/'));
    let stands = |(_, object): (String, Option<Object>)| object.is_some();
    context.planning()
        && (matches!(context.overlay.get::<Object>(&key), Some(Some(_)))
            || context.overlay.beneath::<Object>(&within).into_iter().any(stands))
}

/// What a plan can say of a tree whose source only the run will make.
fn not_known_yet(path: &Path, before: Option<&Tree>) -> Change<Tree> {
    let field = FieldChange {
        path: "files".into(),
        before: None,
        after: Some(json!("not known yet: an earlier step of this run makes their source")),
        replaces: false,
    };
    let path = path.to_string_lossy().into_owned();
    let after =
        Tree { path, files: 0, folders: 0, size: 0, hash: String::new(), entries: None, absent: false };
    let action = if before.is_some() { Action::Update } else { Action::Create };
    let mut change = Change::to(action, Some(after), vec![field]);
    change.unknown = vec!["files", "folders", "size", "hash"];
    change
}

/// What a change of a tree leaves.
fn applied(change: &Change<Tree>) -> Result<Applied<Tree>> {
    let after = change.after.clone().map(|after| Tree { entries: None, absent: false, ..after });
    after.map(Applied::to).ok_or_else(|| Error::new(Code::Internal, "a tree's change has no outcome"))
}

/// How many bytes a tree has at most, unless a call says otherwise.
fn default_tree_limit() -> Size {
    Size(1 << 30)
}

/// How many files and folders a tree has at most, unless a call says otherwise.
fn default_entries() -> u32 {
    10_000
}

/// Does file work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::ended("file work ended early", &error))?
}
