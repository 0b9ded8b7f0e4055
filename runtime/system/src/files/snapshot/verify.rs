//! Owns `files.verify`.

use async_trait::async_trait;
use effect::units::Size;
use effect::{Context, Declared, Need, Read, Result, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{blocking, resolve};
use super::Bounds;
use super::read::{self, Next, each};
use super::seal;
use crate::World;
use crate::node::only_local;

/// Reads a whole snapshot and checks its sums; one that is torn or damaged is an error. Nothing is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// The snapshot. Absolute, or relative to the script's folder; links and `..` are refused.
    path: String,
    /// The secret key that opens it, where it is sealed. Its `to` lists `"snapshot"`.
    key: Option<Secret>,
    /// One with more bytes is refused.
    #[serde(default = "super::default_limit")]
    limit: Size,
    /// One with more files and folders is refused.
    #[serde(default = "super::default_entries")]
    entries: u64,
    /// The node; this one unless given.
    node: Option<String>,
}

/// What a whole snapshot holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Whose it is.
    pub service: String,
    /// The folder that it was taken of.
    pub source: String,
    /// When, in seconds since 1970.
    pub taken: f64,
    /// Files, folders and links, the folder itself included.
    pub entries: u64,
    /// The bytes of all files.
    pub bytes: u64,
    /// Sockets, pipes and devices that were left out.
    pub skipped: u64,
    /// Files that changed while they were packed.
    pub changed: u64,
}

impl Declared for Verify {
    const NAME: &'static str = "files.verify";
    const CAPABILITY: &'static str = "files:read:PATH";
    const EXAMPLE: &'static str = "files.write { path = \"data/a.txt\", content = \"hello\", parents = true }\nfiles.snapshot { path = \"data\", to = \"data.tar.zst\", service = \"hello\" }\nprint(files.verify({ path = \"data.tar.zst\" }).entries)";
    type World = World;
    type Output = Verified;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("files", resolve(world.root(), &self.path)?.to_string_lossy())])
    }
}

#[async_trait]
impl Read for Verify {
    async fn read(&self, world: &World, context: &Context) -> Result<Verified> {
        only_local(context, self.node.as_deref())?;
        let path = resolve(world.root(), &self.path)?;
        if super::super::is_planned(context, &path) {
            // Nobody can know what will be in it; that it will be whole is what taking it promises.
            return Ok(Verified {
                service: String::new(),
                source: String::new(),
                taken: 0.0,
                entries: 0,
                bytes: 0,
                skipped: 0,
                changed: 0,
            });
        }
        let key = seal::key(context, self.key.as_ref()).await?;
        let bounds = Bounds { bytes: self.limit.0, entries: self.entries };
        blocking(move || {
            let file = read::open(&path)?.ok_or_else(|| read::missing(&path))?;
            // What is not read on by the visitor is passed over, and is in the sum all the same.
            let read = each(&path, file, key.as_ref(), bounds, &mut |_| Ok(()), &mut |_, _| Ok(Next::GoOn))?;
            let (head, end) = read.ok_or_else(|| read::torn(&path, "it has no end"))?;
            Ok(Verified {
                service: head.service,
                source: head.source,
                taken: head.taken as f64 / 1000.0,
                entries: end.entries,
                bytes: end.bytes,
                skipped: end.skipped,
                changed: end.changed,
            })
        })
        .await
    }
}
