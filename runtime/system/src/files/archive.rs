//! Owns `files.archive`, and how archives are read and written. Leaves the formats themselves to the crates `tar`, `zstd`
//! and `flate2`.

mod pack;
mod read;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use effect::units::{Mode, Size};
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, FieldChange, Need, Result,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::object::{self, Keep, Kind, Object, kind_of};
use super::owner::{Owner, Wish};
use super::store;
use super::tree::{Excludes, Folder, Listing, with_planned};
use super::{blocking, resolve, rewind};
use crate::World;
use crate::node::only_local;

use pack::{Format, Packed};
pub(super) use read::{Bounds, Content, Reader, refusal};

/// Makes a file be the archive of a folder: `tar.zst`, or plain `tar`, by the end of its name.
///
/// The same files make the same bytes: sorted by name, owned by nobody, all of one time. An archive that is already so is
/// left alone. A folder that holds links or devices is refused unless they are left out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The archive, ending in `.tar.zst` or `.tar`. Absolute, or relative to the script's folder; links and `..` are refused.
    path: String,
    /// The folder.
    source: String,
    /// Patterns of what is left out, such as `"*.log"` or `"cache/**"`.
    #[serde(default)]
    exclude: Vec<String>,
    /// The time of every entry in seconds since 1970.
    #[serde(default)]
    mtime: u64,
    /// How hard it is compressed, from 1 to 19.
    #[serde(default = "default_level")]
    #[schemars(range(min = 1, max = 19))]
    level: i32,
    /// The permission bits of the archive, such as `"0640"`; a new one has `"0644"` unless given.
    mode: Option<Mode>,
    /// User and group of the archive, by number or name: `"850:850"`, `"mcq"`.
    owner: Option<Wish>,
    /// Whether missing folders above it are made.
    #[serde(default)]
    parents: bool,
    /// A folder with more bytes is refused.
    #[serde(default = "super::default_tree_limit")]
    limit: Size,
    /// A folder with more files and folders is refused; at most 100000.
    #[serde(default = "super::default_entries")]
    #[schemars(range(min = 1, max = 100_000))]
    entries: u32,
    /// The node; this one unless given.
    node: Option<String>,
    #[serde(skip)]
    #[schemars(skip)]
    packed: OnceLock<Option<Arc<Packed>>>,
}

fn default_level() -> i32 {
    3
}

impl Declared for Archive {
    const NAME: &'static str = "files.archive";
    const CAPABILITY: &'static str = "files:write:PATH";
    const EXAMPLE: &'static str = "files.write { path = \"site/index.html\", content = \"hello\", parents = true }\nfiles.archive { path = \"site.tar.zst\", source = \"site\", exclude = { \"*.tmp\" } }";
    type World = World;
    type Output = Ensured<Object>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![
            Need::read("files", resolve(world.root(), &self.source)?.to_string_lossy()).and_beneath(),
            Need::write("files", resolve(world.root(), &self.path)?.to_string_lossy()),
        ])
    }
}

/// One call with its paths resolved, ready for a thread that may block.
struct Job {
    path: PathBuf,
    source: PathBuf,
    excludes: Excludes,
    format: Format,
    mode: Option<Mode>,
    owner: Option<Owner>,
    parents: bool,
    limit: Size,
    entries: u32,
    context: Context,
}

impl Archive {
    fn job(&self, world: &World, context: &Context) -> Result<Job> {
        let (path, source) = (resolve(world.root(), &self.path)?, resolve(world.root(), &self.source)?);
        if path.starts_with(&source) {
            let message = "`files.archive`: the archive lies in its own source";
            return Err(Error::new(Code::Argument, message));
        }
        Ok(Job {
            format: Format::of(&path, self.level, self.mtime)?,
            path,
            source,
            excludes: Excludes::new(Self::NAME, &self.exclude)?,
            mode: self.mode,
            owner: store::owner(self.owner.as_ref())?,
            parents: self.parents,
            limit: self.limit,
            entries: self.entries,
            context: context.clone(),
        })
    }

    /// What the archive will be, worked out once; `None` when only the run itself can know.
    async fn packed(&self, world: &World, context: &Context) -> Result<Option<Arc<Packed>>> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed.clone());
        }
        let job = self.job(world, context)?;
        let packed = blocking(move || job.foresee()).await?.map(Arc::new);
        Ok(self.packed.get_or_init(|| packed).clone())
    }
}

impl Job {
    fn keep(&self, packed: Option<&Packed>) -> Keep {
        Keep {
            unless: packed.map(|packed| packed.hash.clone()),
            wanted_size: 0,
            streamed_size: packed.map_or(0, |packed| packed.size),
        }
    }

    /// What is to be packed, by name.
    fn listing(&self, folder: Option<&Folder>) -> Result<Listing> {
        let mut listing = Listing::new();
        let mut size: u64 = 0;
        let walked = folder.map(|folder| folder.walk(&self.excludes, self.entries)).transpose()?;
        for (name, stat) in walked.into_iter().flat_map(|walked| walked.found) {
            if let Some(folder) = folder {
                folder.refuse_special(&name, kind_of(&stat))?;
            }
            let entry = pack::entry(&stat);
            size = size.saturating_add(entry.size);
            listing.insert(name, entry);
        }
        if size > self.limit.0 {
            let message = format!("`{}` holds more than {}", self.source.display(), self.limit);
            return Err(Error::new(Code::TooLarge, message).hint("raise `limit` if the size is expected"));
        }
        if self.context.planning() {
            with_planned(&self.context, &self.source, &mut listing, |name| {
                !self.excludes.leave_out_whole(name)
            })?;
        }
        Ok(listing)
    }

    /// Packs without writing, for the hash of what it will be.
    fn foresee(&self) -> Result<Option<Packed>> {
        let folder = self.source()?;
        let listing = self.listing(folder.as_ref())?;
        if listing.values().any(|entry| entry.hash.is_some() && entry.content.is_none()) {
            // A file that only the run will write, too large for the plan to hold.
            return Ok(None);
        }
        pack::foresee(folder.as_ref(), &listing, self.format, &self.context).map(Some)
    }

    fn source(&self) -> Result<Option<Folder>> {
        match Folder::open(&self.source)? {
            Some(folder) => Ok(Some(folder)),
            None if super::is_planned(&self.context, &self.source) => Ok(None),
            None => {
                let message = format!("there is no folder `{}`", self.source.display());
                Err(Error::new(Code::FileFailed, message))
            }
        }
    }

    fn after(&self, packed: &Packed, before: Option<&Object>) -> Object {
        let own =
            Owner { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() };
        Object {
            path: self.path.to_string_lossy().into_owned(),
            kind: Kind::File,
            size: packed.size,
            hash: Some(packed.hash.clone()),
            mode: self.mode.or_else(|| before.map(|before| before.mode)).unwrap_or(Mode(0o644)),
            owner: self
                .owner
                .map(|owner| owner.to_string())
                .or_else(|| before.map(|before| before.owner.clone()))
                .unwrap_or_else(|| own.to_string()),
            content: packed.content.as_ref().map(|content| self.context.sealer.hide(content)),
        }
    }

    fn write(&self, before: Option<&Object>, after: &Object) -> Result<()> {
        let place = store::place(&self.path, self.parents)?;
        if before.is_some_and(|before| before.hash == after.hash) {
            return store::adjust(&place, after);
        }
        let folder = self.source()?;
        let listing = self.listing(folder.as_ref())?;
        let token = store::token(&self.context);
        store::replace(&place, before, after, &token, |file| {
            let written = pack::write(file, folder.as_ref(), &listing, self.format, &self.context)?;
            if Some(&written.hash) == after.hash.as_ref() {
                return Ok(());
            }
            let message = format!("`{}` changed while it was packed", self.source.display());
            Err(Error::new(Code::FileFailed, message).hint("run again").retryable())
        })
    }
}

#[async_trait]
impl Ensure for Archive {
    type State = Object;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        super::key(context, self.node.as_deref(), &self.path)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Object>> {
        only_local(context, self.node.as_deref())?;
        let (packed, job) = (self.packed(world, context).await?, self.job(world, context)?);
        blocking(move || {
            let keep = job.keep(packed.as_deref());
            object::observe(&job.path, &job.context.sealer, &keep)
        })
        .await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Object>,
    ) -> Result<Change<Object>> {
        let (packed, job) = (self.packed(world, context).await?, self.job(world, context)?);
        if let Some(before) = before.filter(|before| before.kind != Kind::File) {
            return Err(object::refuse_kind(&job.path, before.kind));
        }
        match packed {
            Some(packed) => Ok(store::change_to(job.after(&packed, before), before, job.owner.is_some())),
            None => {
                let unknown = Packed { size: 0, hash: String::new(), content: None };
                let after = Object { hash: None, ..job.after(&unknown, before) };
                let field = FieldChange {
                    path: "content".into(),
                    before: None,
                    after: Some(json!("not known yet: an earlier step of this run makes what it packs")),
                    replaces: false,
                };
                let action = if before.is_some() { Action::Update } else { Action::Create };
                let mut change = Change::to(action, Some(after), vec![field]);
                change.unknown = vec!["size", "hash"];
                Ok(change)
            }
        }
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Object>,
        change: &Change<Object>,
    ) -> Result<Applied<Object>> {
        let job = self.job(world, context)?;
        let missing = || Error::new(Code::Internal, "an archive's change has no outcome");
        let after = change.after.clone().ok_or_else(missing)?;
        let before = before.cloned();
        blocking(move || {
            job.write(before.as_ref(), &after)?;
            Ok(Applied::to(after.without_content()))
        })
        .await
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
