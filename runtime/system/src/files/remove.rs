//! Owns `files.remove`.

use std::path::Path;

use async_trait::async_trait;
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, FieldChange, Need, Result,
};
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::object::{self, Keep, Kind, Object};
use super::place::Place;
use super::store::{NOT_RESTORABLE, sync_folder};
use super::{blocking, key, resolve, rewind};
use crate::World;
use crate::node::only_local;

/// Makes a path not exist.
///
/// It may be a file or an empty folder. A folder with anything in it is refused, as is a link.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The path, absolute or relative to the script's folder. Links and `..` are refused.
    path: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Remove {
    const NAME: &'static str = "files.remove";
    const CAPABILITY: &'static str = "files:write:PATH";
    const EXAMPLE: &'static str = "files.remove { path = \"hello.txt\" }";
    type World = World;
    type Output = Ensured<Object>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("files", resolve(world.root(), &self.path)?.to_string_lossy())])
    }
}

#[async_trait]
impl Ensure for Remove {
    type State = Object;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, self.node.as_deref(), &self.path)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Object>> {
        only_local(context, self.node.as_deref())?;
        let path = resolve(world.root(), &self.path)?;
        let sealer = context.sealer.clone();
        let keep = Keep { unless: None, wanted_size: 0, streamed_size: 0 };
        blocking(move || object::observe(&path, &sealer, &keep)).await
    }

    async fn change(&self, _: &World, context: &Context, before: Option<&Object>) -> Result<Change<Object>> {
        change(context, before)
    }

    async fn apply(
        &self,
        _: &World,
        _: &Context,
        before: Option<&Object>,
        _: &Change<Object>,
    ) -> Result<Applied<Object>> {
        apply(before).await
    }

    async fn observe_whole(&self, world: &World, context: &Context) -> Result<Option<Object>> {
        rewind::observe(resolve(world.root(), &self.path)?, context).await
    }

    async fn rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Object>,
        earlier: Option<&Object>,
    ) -> Result<Change<Object>> {
        rewind::compare(context, now, earlier)
    }

    async fn apply_rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Object>,
        earlier: Option<&Object>,
        change: &Change<Object>,
    ) -> Result<Applied<Object>> {
        rewind::apply(context, now, earlier, change).await
    }
}

/// What making `before` not exist changes.
pub(super) fn change(context: &Context, before: Option<&Object>) -> Result<Change<Object>> {
    let Some(before) = before else { return Ok(Change::none(None)) };
    let path = object::path_of(before);
    match before.kind {
        Kind::File => {}
        Kind::Directory => refuse_unless_empty(context, &path)?,
        other => return Err(object::refuse_kind(&path, other)),
    }
    let field =
        FieldChange { path: "kind".into(), before: Some(json!(before.kind)), after: None, replaces: false };
    let change = Change::to(Action::Remove, None, vec![field]);
    let kept = before.kind == Kind::Directory || before.content.is_some();
    Ok(if kept { change } else { change.losing(NOT_RESTORABLE) })
}

/// Makes `before` not exist.
pub(super) async fn apply(before: Option<&Object>) -> Result<Applied<Object>> {
    let Some(before) = before.cloned() else { return Ok(Applied::gone()) };
    blocking(move || remove(&object::path_of(&before), before.kind)).await?;
    Ok(Applied::gone())
}

/// Names what lies in a folder, apart from what the plan will have removed.
fn refuse_unless_empty(context: &Context, path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(Code::FileFailed, format!("cannot list `{}`", path.display())).because(error)
    };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        // It exists only in the plan so far.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let inside = entry.map_err(failed)?.path();
        let planned = context.overlay.get::<Object>(&context.key("files", None, &inside.to_string_lossy()));
        if !matches!(planned, Some(None)) {
            let name = inside.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(Error::new(
                Code::FileFailed,
                format!("the folder `{}` is not empty", path.display()),
            )
            .because(format!("it holds `{name}`"))
            .hint("remove what lies in it first"));
        }
    }
    Ok(())
}

pub(super) fn remove(path: &Path, kind: Kind) -> Result<()> {
    let Some(place) = Place::open(path)? else { return Ok(()) };
    let flags = match kind {
        Kind::Directory => AtFlags::REMOVEDIR,
        _ => AtFlags::empty(),
    };
    // Looked at once more: a link that took its place meanwhile is not ours to remove.
    match place.open_it(OFlags::PATH).and_then(rustix::fs::fstat) {
        Ok(stat) if object::kind_of(&stat) != kind => {
            return Err(object::refuse_kind(path, object::kind_of(&stat)));
        }
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(place.failed("look at", errno)),
    }
    match rustix::fs::unlinkat(&place.folder, &place.name, flags) {
        Ok(()) => sync_folder(&place),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(place.failed("remove", errno)),
    }
}
