//! Owns `files.restore`.

use std::path::{Path, PathBuf};

use age::x25519::Identity;
use async_trait::async_trait;
use effect::units::Size;
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, FieldChange, Need, Result,
    Secret,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::object::{self, Kind, kind_of};
use super::super::{blocking, is_planned, resolve, store, tree_key};
use super::about::Head;
use super::compare::is_same;
use super::exchange::Exchange;
use super::read::{self, Next, each};
use super::seal;
use super::take::open_folder;
use super::unpack::Unpacker;
use super::{Bounds, list::stamp};
use crate::World;
use crate::node::only_local;
use crate::ports::check_service_name;

/// Makes a folder be what a snapshot holds, to the byte. One that is so already is left alone.
///
/// The snapshot is unpacked and checked beside the folder first, and then takes its place in one step. What was there is
/// never removed: it lies beside it, as `after.kept` says. Stop first who works in the folder, as `@std/snapshot` does.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The snapshot.
    from: String,
    /// The folder. Absolute, or relative to the script's folder; links and `..` are refused.
    path: String,
    /// Whose folder it is: a snapshot of another service is refused, and so is a folder that another deployed service has.
    service: String,
    /// The secret key that opens it, where it is sealed. Its `to` lists `"snapshot"`.
    key: Option<Secret>,
    /// A snapshot with more bytes is refused.
    #[serde(default = "super::default_limit")]
    limit: Size,
    /// A snapshot with more files and folders is refused.
    #[serde(default = "super::default_entries")]
    entries: u64,
    /// The node; this one unless given.
    node: Option<String>,
}

/// A folder as it stands to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// The folder.
    pub path: String,
    /// The snapshot that it is equal to; none where it is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Where that lies now which it took the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

impl Declared for Restore {
    const NAME: &'static str = "files.restore";
    const CAPABILITY: &'static str = "files:write:PATH";
    const EXAMPLE: &'static str = "files.write { path = \"data/a.txt\", content = \"hello\", parents = true }\nfiles.snapshot { path = \"data\", to = \"data.tar.zst\", service = \"hello\" }\nfiles.restore { from = \"data.tar.zst\", path = \"data\", service = \"hello\" }";
    type World = World;
    type Output = Ensured<Standing>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        check_service_name("service", &self.service)?;
        Ok(vec![
            Need::read("files", resolve(world.root(), &self.from)?.to_string_lossy()),
            Need::write("files", resolve(world.root(), &self.path)?.to_string_lossy()).and_beneath(),
        ])
    }

    fn lease(&self) -> Option<String> {
        Some(self.service.clone())
    }
}

/// One call with its paths resolved, ready for a thread that may block.
struct Job {
    from: PathBuf,
    path: PathBuf,
    service: String,
    bounds: Bounds,
    key: Option<Identity>,
}

impl Restore {
    fn job(&self, world: &World) -> Result<Job> {
        let (from, path) = (resolve(world.root(), &self.from)?, resolve(world.root(), &self.path)?);
        if from.starts_with(&path) {
            let message = "`files.restore`: the snapshot lies in the folder that it takes the place of";
            return Err(Error::new(Code::Argument, message).hint("move it elsewhere first"));
        }
        let bounds = Bounds { bytes: self.limit.0, entries: self.entries };
        Ok(Job { from, path, service: self.service.clone(), bounds, key: None })
    }

    /// The same with the key.
    async fn opening_job(&self, world: &World, context: &Context) -> Result<Job> {
        let key = seal::key(context, self.key.as_ref()).await?;
        Ok(Job { key, ..self.job(world)? })
    }

    /// Refuses a folder that another deployed service has.
    async fn refuse_others(&self, context: &Context, path: &Path) -> Result<()> {
        for record in context.journal.records("service", Some(&context.node)).await? {
            if record.name == self.service {
                continue;
            }
            let spec: Value = serde_json::from_str(&record.value).unwrap_or_default();
            let theirs = volumes(&spec["spec"]).into_iter().find(|volume| {
                let volume = Path::new(volume);
                volume.starts_with(path) || path.starts_with(volume)
            });
            if let Some(theirs) = theirs {
                let message = format!("`{}` belongs to the service `{}`", path.display(), record.name);
                return Err(Error::new(Code::FileRefused, message)
                    .because(format!(
                        "its volume `{theirs}` lies there, and the restore is for `{}`",
                        self.service
                    ))
                    .hint(format!("restore into a folder of `{}`", self.service)));
            }
        }
        Ok(())
    }
}

/// The paths of this machine that the containers of a recorded service have.
fn volumes(spec: &Value) -> Vec<String> {
    let containers = spec["containers"].as_array().into_iter().flatten();
    let given = containers.flat_map(|container| container["volumes"].as_array().into_iter().flatten());
    let host = |volume: &Value| Some(volume.as_str()?.split(':').next().unwrap_or_default().to_owned());
    given.filter_map(host).filter(|path| path.starts_with('/')).collect()
}

impl Job {
    fn begun(&self, head: &Head) -> Result<()> {
        if head.service == self.service {
            return Ok(());
        }
        let message = format!("the snapshot `{}` is of another service", self.from.display());
        Err(Error::new(Code::ArchiveRefused, message)
            .because(format!("it is of `{}` at `{}`, not of `{}`", head.service, head.source, self.service))
            .hint(format!("`files.snapshots` lists those of `{}`", self.service)))
    }

    /// How the folder stands; `None` when there is none.
    fn observe(&self) -> Result<Option<Standing>> {
        let Some(file) = read::open(&self.from)? else { return self.without_snapshot() };
        let head = read::head(&self.from, file)?;
        self.begun(&head)?;
        let Some(mut standing) = self.without_snapshot()? else { return Ok(None) };
        let file = read::open(&self.from)?.ok_or_else(|| read::missing(&self.from))?;
        let folder = open_folder(&self.path)?;
        let same =
            is_same(&self.from, file, self.key.as_ref(), &folder, &self.path, self.bounds, &mut |head| {
                self.begun(head)
            })?;
        standing.snapshot = same.then(|| self.from.to_string_lossy().into_owned());
        Ok(Some(standing))
    }

    fn without_snapshot(&self) -> Result<Option<Standing>> {
        match object::look(&self.path)? {
            None => Ok(None),
            Some((_, stat)) if kind_of(&stat) == Kind::Directory => Ok(Some(Standing {
                path: self.path.to_string_lossy().into_owned(),
                snapshot: None,
                kept: None,
            })),
            Some((_, stat)) => Err(object::refuse_kind(&self.path, kind_of(&stat))),
        }
    }

    fn apply(&self, token: &str, kept: &str, resumed: bool) -> Result<Standing> {
        let snapshot = Some(self.from.to_string_lossy().into_owned());
        let path = self.path.to_string_lossy().into_owned();
        if resumed && !Exchange::is_begun(&self.path, token)? {
            // Cut behind its end: then it is done.
            if let Some(standing) = self.observe()?.filter(|standing| standing.snapshot.is_some()) {
                return Ok(standing);
            }
        }
        let file = read::open(&self.from)?.ok_or_else(|| read::missing(&self.from))?;
        let kept = Exchange::begin(&self.path, token)?.carry_out(kept, |new| {
            let mut unpacker = Unpacker::new(new, &self.from, &self.path);
            each(
                &self.from,
                file,
                self.key.as_ref(),
                self.bounds,
                &mut |head| self.begun(head),
                &mut |item, content| unpacker.add(item, content).map(|()| Next::GoOn),
            )?;
            unpacker.finish()
        })?;
        Ok(Standing { path, snapshot, kept: kept.map(|kept| kept.to_string_lossy().into_owned()) })
    }
}

#[async_trait]
impl Ensure for Restore {
    type State = Standing;

    fn key(&self, context: &Context) -> String {
        tree_key(context, self.node.as_deref(), &self.path)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Standing>> {
        only_local(context, self.node.as_deref())?;
        let job = self.opening_job(world, context).await?;
        self.refuse_others(context, &job.path).await?;
        blocking(move || job.observe()).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Standing>,
    ) -> Result<Change<Standing>> {
        let job = self.job(world)?;
        if before.is_some_and(|before| before.snapshot.is_some()) {
            return Ok(Change::none(before.cloned()));
        }
        let from = job.from.clone();
        let is_there = blocking(move || Ok(read::open(&from)?.is_some())).await?;
        if !is_there && !is_planned(context, &job.from) {
            return Err(read::missing(&job.from));
        }
        let snapshot = job.from.to_string_lossy().into_owned();
        let after = Standing {
            path: job.path.to_string_lossy().into_owned(),
            snapshot: Some(snapshot.clone()),
            kept: before.map(|_| String::new()),
        };
        let field = FieldChange {
            path: "content".into(),
            before: before.map(|_| json!("something else, which is kept beside it")),
            after: Some(json!(snapshot)),
            replaces: false,
        };
        let action = if before.is_some() { Action::Update } else { Action::Create };
        let mut change = Change::to(action, Some(after), vec![field]);
        change.unknown = vec!["kept"];
        Ok(change)
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Standing>,
        _: &Change<Standing>,
    ) -> Result<Applied<Standing>> {
        let job = self.opening_job(world, context).await?;
        let (token, resumed) = (store::token(context), context.resumed);
        let name = job.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let kept = format!("{name}.before-{}", stamp(context.now().0));
        blocking(move || job.apply(&token, &kept, resumed).map(Applied::to)).await
    }
}
