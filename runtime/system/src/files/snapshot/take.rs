//! Owns `files.snapshot`.

use std::path::{Path, PathBuf};

use age::x25519::Recipient;
use async_trait::async_trait;
use effect::units::{Mode, Size};
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, FieldChange, Need, Result,
};
use rustix::fs::OFlags;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::super::object::{self, Kind, Object, kind_of};
use super::super::{blocking, is_planned, key, put_new, resolve, rewind, store};
use super::about::{FORMAT, Head};
use super::pack::{Packing, pack};
use super::{Bounds, read, seal};
use crate::World;
use crate::node::only_local;
use crate::ports::check_service_name;

/// What the name of a snapshot ends with.
pub(super) const ENDING: &str = ".tar.zst";
/// What that of a sealed one ends with.
pub(super) const SEALED_ENDING: &str = ".tar.zst.age";

/// Takes a snapshot of a folder: one file that keeps owners, modes, times, symbolic and hard links.
///
/// Only what is within the folder is read; no link is followed. Sockets, pipes and devices are left out. The snapshot is put
/// in place when it is whole, and one that is there already is left alone. `tar` unpacks it as well.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The folder. Absolute, or relative to the script's folder; links and `..` are refused.
    path: String,
    /// The snapshot, ending in `.tar.zst`, or in `.tar.zst.age` where it is sealed. Only its owner may read it.
    to: String,
    /// Whose folder it is: only for this service is it restored.
    service: String,
    /// Whether somebody else's writing to a file while it is packed is an error. Without, such a file is packed as it was
    /// read, as `tar` does.
    #[serde(default)]
    still: bool,
    /// How hard it is compressed, from 1 to 19.
    #[serde(default = "default_level")]
    #[schemars(range(min = 1, max = 19))]
    level: i32,
    /// The public key that it is sealed for, `age1…`, in the form of age: only the secret key that belongs to it opens it. What it
    /// is of can be read without.
    seal: Option<String>,
    /// Whether missing folders above the snapshot are made.
    #[serde(default)]
    parents: bool,
    /// A folder with more bytes is refused.
    #[serde(default = "super::default_limit")]
    limit: Size,
    /// A folder with more files and folders is refused.
    #[serde(default = "super::default_entries")]
    entries: u64,
    /// The node; this one unless given.
    node: Option<String>,
}

fn default_level() -> i32 {
    3
}

impl Declared for Snapshot {
    const NAME: &'static str = "files.snapshot";
    const CAPABILITY: &'static str = "files:write:PATH";
    const EXAMPLE: &'static str = "files.write { path = \"data/a.txt\", content = \"hello\", parents = true }\nfiles.snapshot { path = \"data\", to = \"snapshots/data.tar.zst\", service = \"hello\", parents = true }";
    type World = World;
    type Output = Ensured<Object>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        check_service_name("service", &self.service)?;
        Ok(vec![
            Need::read("files", resolve(world.root(), &self.path)?.to_string_lossy()).and_beneath(),
            Need::write("files", resolve(world.root(), &self.to)?.to_string_lossy()),
        ])
    }
}

impl Snapshot {
    fn recipient(&self) -> Result<Option<Recipient>> {
        self.seal.as_deref().map(seal::recipient).transpose()
    }

    fn paths(&self, world: &World) -> Result<(PathBuf, PathBuf)> {
        let (path, to) = (resolve(world.root(), &self.path)?, resolve(world.root(), &self.to)?);
        let wrong = |what: String| Err(Error::new(Code::Argument, format!("`files.snapshot`: {what}")));
        if to.starts_with(&path) {
            return wrong("the snapshot lies in the folder that it is of".to_owned());
        }
        let ending = if self.seal.is_some() { SEALED_ENDING } else { ENDING };
        if !self.to.ends_with(ending) {
            return wrong(format!("`{}` does not end in `{ending}`", crate::exec::clip(&self.to)));
        }
        Ok((path, to))
    }
}

#[async_trait]
impl Ensure for Snapshot {
    type State = Object;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, self.node.as_deref(), &self.to)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Object>> {
        only_local(context, self.node.as_deref())?;
        rewind::observe(self.paths(world)?.1, context).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Object>,
    ) -> Result<Change<Object>> {
        let (path, to) = self.paths(world)?;
        self.recipient()?;
        let planned = is_planned(context, &path);
        if let Some(before) = before.cloned() {
            let service = self.service.clone();
            blocking(move || is_it(&to, &path, &service)).await?;
            return Ok(Change::none(Some(Object { content: None, ..before })));
        }
        let shown = path.clone();
        if !planned {
            blocking(move || open_folder(&path).map(drop)).await?;
        }
        let field = FieldChange {
            path: "content".into(),
            before: None,
            after: Some(json!(format!("a snapshot of {} for {}", shown.display(), self.service))),
            replaces: false,
        };
        let mut change = Change::to(Action::Create, Some(Object::new_file(&to, Mode(0o600))), vec![field]);
        change.unknown = vec!["size"];
        Ok(change)
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Object>,
        change: &Change<Object>,
    ) -> Result<Applied<Object>> {
        let missing = || Error::new(Code::Internal, "a snapshot's change has no outcome");
        let after = change.after.clone().ok_or_else(missing)?;
        let (path, to) = self.paths(world)?;
        let head = Head {
            mcrun_snapshot: FORMAT,
            service: self.service.clone(),
            source: path.to_string_lossy().into_owned(),
            node: context.node.clone(),
            taken: context.now().0,
        };
        let (level, still, parents) = (self.level.clamp(1, 19), self.still, self.parents);
        let bounds = Bounds { bytes: self.limit.0, entries: self.entries };
        let (token, seal) = (store::token(context), self.recipient()?);
        blocking(move || {
            let folder = open_folder(&path)?;
            let packing = Packing { folder, root: &path, head, level, bounds, still, seal };
            let size = put_new(&to, 0o600, parents, &token, |file| pack(file, packing).map(drop))?;
            Ok(Applied::to(Object { size, ..after }))
        })
        .await
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

/// Opens a folder for reading.
pub(super) fn open_folder(path: &Path) -> Result<std::os::fd::OwnedFd> {
    let Some((place, stat)) = object::look(path)? else {
        return Err(Error::new(Code::FileFailed, format!("there is no folder `{}`", path.display())));
    };
    if kind_of(&stat) != Kind::Directory {
        return Err(object::refuse_kind(path, kind_of(&stat)));
    }
    place.open_it(OFlags::RDONLY | OFlags::DIRECTORY).map_err(|errno| place.failed("open", errno))
}

/// Refuses a file that is something else than the snapshot that is wanted there.
fn is_it(to: &Path, path: &Path, service: &str) -> Result<()> {
    let file = read::open(to)?.ok_or_else(|| read::missing(to))?;
    let head = read::head(to, file)?;
    if head.source == path.to_string_lossy() && head.service == service {
        return Ok(());
    }
    let message = format!("`{}` is there already, and a snapshot of something else", to.display());
    Err(Error::new(Code::ArchiveRefused, message)
        .because(format!("it is of `{}` for the service `{}`", head.source, head.service))
        .hint("name another file: no snapshot is replaced"))
}
