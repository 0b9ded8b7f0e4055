//! Owns `files.sync`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use effect::units::{Mode, Size};
use effect::{Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::object::{Kind, kind_of};
use super::owner::Wish;
use super::store;
use super::tree::{Budget, Collector, Excludes, Folder, Rules, Tree, Wanted, Writer, back, with_planned};
use super::{blocking, resolve};
use crate::World;
use crate::node::only_local;

/// Makes a folder hold the same files as another.
///
/// Names, contents and permission bits are compared, and only what differs is written; each file appears at once. Links,
/// devices and special permission bits are never carried over. What the folder has beyond the source stays, unless `delete`
/// is set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// The folder that is brought into step. Absolute, or relative to the script's folder; links and `..` are refused.
    path: String,
    /// The folder that it follows.
    source: String,
    /// Whether what the source does not have is removed.
    #[serde(default)]
    delete: bool,
    /// Patterns of what is neither copied nor removed, such as `"*.log"` or `"cache/**"`.
    #[serde(default)]
    exclude: Vec<String>,
    /// The permission bits of every file; those of the source unless given.
    file_mode: Option<Mode>,
    /// The permission bits of every folder; those of the source unless given.
    folder_mode: Option<Mode>,
    /// User and group of all, by number or name: `"850:850"`, `"mcq"`.
    owner: Option<Wish>,
    /// Whether missing folders above it are made.
    #[serde(default)]
    parents: bool,
    /// A source with more bytes is refused.
    #[serde(default = "super::default_tree_limit")]
    limit: Size,
    /// A source with more files and folders is refused; at most 100000.
    #[serde(default = "super::default_entries")]
    #[schemars(range(min = 1, max = 100_000))]
    entries: u32,
    /// The node; this one unless given.
    node: Option<String>,
    #[serde(skip)]
    #[schemars(skip)]
    wanted: OnceLock<Arc<Wanted>>,
}

impl Declared for Sync {
    const NAME: &'static str = "files.sync";
    const CAPABILITY: &'static str = "files:write:PATH";
    const EXAMPLE: &'static str = "files.directory { path = \"site\" }\nfiles.sync { path = \"public\", source = \"site\", delete = true, exclude = { \"*.tmp\" } }";
    type World = World;
    type Output = Ensured<Tree>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let (path, source) = self.paths(world)?;
        Ok(vec![
            Need::read("files", source.to_string_lossy()).and_beneath(),
            Need::write("files", path.to_string_lossy()).and_beneath(),
        ])
    }
}

/// One call with its paths resolved, ready for a thread that may block.
struct Job {
    path: PathBuf,
    source: PathBuf,
    delete: bool,
    excludes: Excludes,
    file_mode: Option<Mode>,
    folder_mode: Option<Mode>,
    owner: Option<super::owner::Owner>,
    parents: bool,
    limit: Size,
    entries: u32,
    context: Context,
}

impl Sync {
    fn paths(&self, world: &World) -> Result<(PathBuf, PathBuf)> {
        let (path, source) = (resolve(world.root(), &self.path)?, resolve(world.root(), &self.source)?);
        if path.starts_with(&source) || source.starts_with(&path) {
            let message = format!("`{}` and `{}` lie in one another", path.display(), source.display());
            return Err(Error::new(Code::Argument, format!("`files.sync`: {message}")));
        }
        Ok((path, source))
    }

    fn job(&self, world: &World, context: &Context) -> Result<Job> {
        let (path, source) = self.paths(world)?;
        Ok(Job {
            path,
            source,
            delete: self.delete,
            excludes: Excludes::new(Self::NAME, &self.exclude)?,
            file_mode: self.file_mode,
            folder_mode: self.folder_mode,
            owner: store::owner(self.owner.as_ref())?,
            parents: self.parents,
            limit: self.limit,
            entries: self.entries,
            context: context.clone(),
        })
    }

    /// What the source holds, looked at once.
    async fn wanted(&self, world: &World, context: &Context) -> Result<Arc<Wanted>> {
        if let Some(wanted) = self.wanted.get() {
            return Ok(wanted.clone());
        }
        let job = self.job(world, context)?;
        let wanted = Arc::new(blocking(move || job.wanted()).await?);
        Ok(self.wanted.get_or_init(|| wanted).clone())
    }
}

impl Job {
    fn rules(&self) -> Rules<'_> {
        Rules {
            path: &self.path,
            delete: self.delete,
            excludes: &self.excludes,
            owner: self.owner,
            entries: self.entries,
        }
    }

    fn wanted(&self) -> Result<Wanted> {
        let planning = self.context.planning();
        let mut budget = planning.then(Budget::of_a_tree);
        let mut collector = Collector::new(&self.source, self.limit, self.entries);
        let mut listing = super::tree::Listing::new();
        match Folder::open(&self.source)? {
            Some(folder) => {
                for (name, stat) in folder.walk(&self.excludes, self.entries)?.found {
                    folder.refuse_special(&name, kind_of(&stat))?;
                    if kind_of(&stat) == Kind::File {
                        collector.count(u64::try_from(stat.st_size).unwrap_or(0))?;
                    }
                    let mut keep =
                        |_: &str, size: u64| budget.as_mut().is_some_and(|budget| budget.takes(size));
                    let entry = folder.describe(&name, &stat, &self.context.sealer, &mut keep)?;
                    listing.insert(name, entry);
                }
            }
            None if planning && super::is_planned(&self.context, &self.source) => {}
            None => return Err(missing(&self.source)),
        }
        if planning {
            with_planned(&self.context, &self.source, &mut listing, |name| {
                !self.excludes.leave_out_whole(name)
            })?;
        }
        for (name, mut entry) in listing {
            let given = if entry.kind == Kind::Directory { self.folder_mode } else { self.file_mode };
            entry.mode = given.map(|mode| mode.0).or(entry.mode.map(|mode| mode & 0o777));
            entry.owner = None;
            let refused = |why: &str| {
                Error::new(Code::FileRefused, format!("`{}` {why}", self.source.join(&name).display()))
            };
            collector.add(name.clone(), entry).map_err(refused)?;
        }
        Ok(collector.finish())
    }

    fn apply(&self, wanted: &Wanted, before: Option<&Tree>) -> Result<()> {
        let sealer = &*self.context.sealer;
        let found =
            before.map_or_else(|| Ok(super::tree::Listing::new()), |before| before.listing(sealer))?;
        let difference = self.rules().compare(&wanted.listing, &found)?;
        let source = Folder::open(&self.source)?.ok_or_else(|| missing(&self.source))?;
        let folder = Folder::make(&self.path, self.parents)?;
        let sides = (&wanted.listing, &found, &difference);
        let writer = Writer::begin(folder, sides, self.owner, sealer, &store::token(&self.context))?;
        for name in writer.files() {
            let (mut file, _) = source.read(name)?;
            writer.file(name, &mut file)?;
        }
        writer.finish()
    }
}

fn missing(source: &Path) -> Error {
    Error::new(Code::FileFailed, format!("there is no folder `{}`", source.display()))
}

#[async_trait]
impl Ensure for Sync {
    type State = Tree;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        super::tree_key(context, self.node.as_deref(), &self.path)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Tree>> {
        only_local(context, self.node.as_deref())?;
        let (wanted, job) = (self.wanted(world, context).await?, self.job(world, context)?);
        blocking(move || job.rules().observe(&wanted.listing, &job.context)).await
    }

    async fn change(&self, world: &World, context: &Context, before: Option<&Tree>) -> Result<Change<Tree>> {
        let (wanted, job) = (self.wanted(world, context).await?, self.job(world, context)?);
        job.rules().change(&wanted.listing, before, context)
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Tree>,
        change: &Change<Tree>,
    ) -> Result<Applied<Tree>> {
        let (wanted, job) = (self.wanted(world, context).await?, self.job(world, context)?);
        let before = before.cloned();
        blocking(move || job.apply(&wanted, before.as_ref())).await?;
        super::applied(change)
    }

    async fn observe_whole(&self, world: &World, context: &Context) -> Result<Option<Tree>> {
        back::observe(resolve(world.root(), &self.path)?, context).await
    }

    async fn rewind(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Tree>,
        earlier: Option<&Tree>,
    ) -> Result<Change<Tree>> {
        back::compare(resolve(world.root(), &self.path)?, context, earlier).await
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Tree>,
        earlier: Option<&Tree>,
        _: &Change<Tree>,
    ) -> Result<Applied<Tree>> {
        back::apply(resolve(world.root(), &self.path)?, context, earlier).await
    }
}
