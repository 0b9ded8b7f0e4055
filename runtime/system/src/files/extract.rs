//! Owns `files.extract`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use effect::units::Size;
use effect::{Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::archive::{Bounds, Content, Reader};
use super::object::Object;
use super::owner::Wish;
use super::store;
use super::tree::{Budget, Collector, Entry, Excludes, Folder, Listing, Rules, Tree, Wanted, Writer, back};
use super::{blocking, resolve};
use crate::World;
use crate::node::only_local;

/// Makes a folder hold what is in an archive: `tar.zst`, `tar.gz` or plain `tar`, told apart by its first bytes.
///
/// Names, contents and permission bits are compared, and only what differs is written; each file appears at once. An archive
/// with a path that leaves the folder, a link, a device, a setuid or setgid file, or the same file twice is refused before
/// anything is written, as is one beyond its bounds. Owners in the archive do not count.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// The folder. Absolute, or relative to the script's folder; links and `..` are refused.
    path: String,
    /// The archive.
    archive: String,
    /// How many leading folders of each path are dropped.
    #[serde(default)]
    #[schemars(range(max = 32))]
    strip: u32,
    /// Whether what the archive does not have is removed.
    #[serde(default)]
    delete: bool,
    /// Patterns of what is neither extracted nor removed, such as `"*.log"` or `"docs/**"`.
    #[serde(default)]
    exclude: Vec<String>,
    /// User and group of all, by number or name: `"850:850"`, `"mcq"`.
    owner: Option<Wish>,
    /// Whether missing folders above it are made.
    #[serde(default)]
    parents: bool,
    /// An archive with more bytes in it is refused.
    #[serde(default = "super::default_tree_limit")]
    limit: Size,
    /// An archive with more files and folders is refused; at most 100000.
    #[serde(default = "super::default_entries")]
    #[schemars(range(min = 1, max = 100_000))]
    entries: u32,
    /// An archive that grows to more than so many times its size is refused.
    #[serde(default = "default_ratio")]
    #[schemars(range(min = 1, max = 100_000))]
    ratio: u32,
    /// The node; this one unless given.
    node: Option<String>,
    #[serde(skip)]
    #[schemars(skip)]
    wanted: OnceLock<Option<Arc<Wanted>>>,
}

fn default_ratio() -> u32 {
    200
}

impl Declared for Extract {
    const NAME: &'static str = "files.extract";
    const CAPABILITY: &'static str = "files:write:PATH";
    const EXAMPLE: &'static str = "files.write { path = \"site/index.html\", content = \"hello\", parents = true }\nfiles.archive { path = \"site.tar.zst\", source = \"site\" }\nfiles.extract { path = \"public\", archive = \"site.tar.zst\" }";
    type World = World;
    type Output = Ensured<Tree>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![
            Need::read("files", resolve(world.root(), &self.archive)?.to_string_lossy()),
            Need::write("files", resolve(world.root(), &self.path)?.to_string_lossy()).and_beneath(),
        ])
    }
}

/// One call with its paths resolved, ready for a thread that may block.
struct Job {
    path: PathBuf,
    archive: PathBuf,
    strip: u32,
    delete: bool,
    excludes: Excludes,
    owner: Option<super::owner::Owner>,
    parents: bool,
    bounds: Bounds,
    context: Context,
}

impl Extract {
    fn job(&self, world: &World, context: &Context) -> Result<Job> {
        let path = resolve(world.root(), &self.path)?;
        let archive = resolve(world.root(), &self.archive)?;
        if self.delete && archive.starts_with(&path) {
            let message = "`files.extract`: the archive lies in the folder, where `delete` would remove it";
            return Err(Error::new(Code::Argument, message));
        }
        Ok(Job {
            path,
            archive,
            strip: self.strip,
            delete: self.delete,
            excludes: Excludes::new(Self::NAME, &self.exclude)?,
            owner: store::owner(self.owner.as_ref())?,
            parents: self.parents,
            bounds: Bounds { limit: self.limit, entries: self.entries, ratio: self.ratio },
            context: context.clone(),
        })
    }

    /// What the archive holds, looked at once; `None` when only the run itself can know.
    async fn wanted(&self, world: &World, context: &Context) -> Result<Option<Arc<Wanted>>> {
        if let Some(wanted) = self.wanted.get() {
            return Ok(wanted.clone());
        }
        let job = self.job(world, context)?;
        let wanted = blocking(move || job.wanted()).await?.map(Arc::new);
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
            entries: self.bounds.entries,
        }
    }

    /// The archive, from the disk or as the plan will have made it; `None` when its content is not known yet.
    fn open(&self) -> Result<Option<Reader>> {
        if self.context.planning() {
            let key = self.context.key("files", None, &self.archive.to_string_lossy());
            match self.context.overlay.get::<Object>(&key) {
                Some(Some(Object { content: Some(hidden), .. })) => {
                    let bytes = self.context.sealer.open_hidden(&hidden)?.to_vec();
                    return Reader::of_bytes(bytes, &self.archive, self.bounds).map(Some);
                }
                Some(Some(_)) => return Ok(None),
                Some(None) => return Err(Error::new(Code::FileFailed, "the plan removes the archive first")),
                None => {}
            }
        }
        Reader::open(&self.archive, self.bounds).map(Some)
    }

    fn wanted(&self) -> Result<Option<Wanted>> {
        let Some(mut reader) = self.open()? else { return Ok(None) };
        let mut budget = self.context.planning().then(Budget::of_a_tree);
        let mut collector = Collector::new(&self.archive, self.bounds.limit, self.bounds.entries);
        reader.each(|mut entry| {
            let Some(name) = self.place(entry.name) else { return Ok(()) };
            collector.count(entry.size)?;
            let taken = match &mut entry.content {
                None => Entry::folder(entry.mode),
                Some(content) => self.describe(content, entry.size, entry.mode, &mut budget)?,
            };
            collector.add(name, taken).map_err(|why| entry.refuse(why))
        })?;
        Ok(Some(collector.finish()))
    }

    /// Where an entry goes; `None` when it is left out.
    fn place(&self, name: &str) -> Option<String> {
        let mut rest = name;
        for _ in 0..self.strip {
            rest = rest.split_once('/')?.1;
        }
        (!rest.is_empty() && !self.excludes.leave_out_whole(rest)).then(|| rest.to_owned())
    }

    fn describe(
        &self,
        content: &mut Content<'_>,
        size: u64,
        mode: Option<u32>,
        budget: &mut Option<Budget>,
    ) -> Result<Entry> {
        let keeps = budget.as_mut().is_some_and(|budget| budget.takes(size));
        let (hash, held) = content.hash(&self.context.sealer, keeps)?;
        let kind = super::object::Kind::File;
        Ok(Entry { kind, mode, owner: None, size, hash: Some(hash), content: held })
    }

    fn apply(&self, wanted: &Wanted, before: Option<&Tree>) -> Result<()> {
        let sealer = &*self.context.sealer;
        let found = before.map_or_else(|| Ok(Listing::new()), |before| before.listing(sealer))?;
        let difference = self.rules().compare(&wanted.listing, &found)?;
        let mut reader = Reader::open(&self.archive, self.bounds)?;
        let folder = Folder::make(&self.path, self.parents)?;
        let sides = (&wanted.listing, &found, &difference);
        let writer = Writer::begin(folder, sides, self.owner, sealer, &store::token(&self.context))?;
        let mut left = writer.files().count();
        reader.each(|entry| {
            if let (Some(name), Some(content)) = (self.place(entry.name), entry.content)
                && writer.takes(&name)
            {
                writer.file(&name, content)?;
                left = left.saturating_sub(1);
            }
            Ok(())
        })?;
        if left > 0 {
            let message = format!("the archive `{}` changed while it was read", self.archive.display());
            return Err(Error::new(Code::FileFailed, message).hint("run again").retryable());
        }
        writer.finish()
    }
}

#[async_trait]
impl Ensure for Extract {
    type State = Tree;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        super::tree_key(context, self.node.as_deref(), &self.path)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Tree>> {
        only_local(context, self.node.as_deref())?;
        let (wanted, job) = (self.wanted(world, context).await?, self.job(world, context)?);
        let Some(wanted) = wanted else { return Ok(None) };
        blocking(move || job.rules().observe(&wanted.listing, &job.context)).await
    }

    async fn change(&self, world: &World, context: &Context, before: Option<&Tree>) -> Result<Change<Tree>> {
        let (wanted, job) = (self.wanted(world, context).await?, self.job(world, context)?);
        match wanted {
            Some(wanted) => job.rules().change(&wanted.listing, before, context),
            None => Ok(super::not_known_yet(&job.path, before)),
        }
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
        let unknown = || Error::new(Code::Internal, "an archive that exists is not known");
        let wanted = wanted.ok_or_else(unknown)?;
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
