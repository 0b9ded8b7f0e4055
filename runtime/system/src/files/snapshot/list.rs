//! Owns `files.snapshots`: which snapshots lie in a folder.

use std::path::Path;

use async_trait::async_trait;
use effect::{Code, Context, Declared, Error, Need, Read, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::object::{Kind, kind_of};
use super::super::{blocking, object, resolve};
use super::read;
use super::take::{ENDING, SEALED_ENDING};
use crate::World;
use crate::node::only_local;

/// A folder with more files is not looked through.
const MOST_FILES: usize = 100_000;

/// Lists the snapshots that lie directly in a folder, newest first. Other files are passed over; a folder that is not there
/// has none. Only how each begins is looked at: `files.verify` reads one whole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    /// The folder. Absolute, or relative to the script's folder; links and `..` are refused.
    path: String,
    /// Only those of this service.
    service: Option<String>,
    /// Only those of this folder.
    source: Option<String>,
    /// The node; this one unless given.
    node: Option<String>,
}

/// A snapshot that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// Its file.
    pub path: String,
    /// Whose it is.
    pub service: String,
    /// The folder that it was taken of.
    pub source: String,
    /// The node that it was taken on.
    pub node: String,
    /// When, in seconds since 1970.
    pub taken: f64,
    /// The size of the file in bytes.
    pub size: u64,
    /// Whether its key is needed to open it.
    pub sealed: bool,
}

impl Declared for Snapshots {
    const NAME: &'static str = "files.snapshots";
    const CAPABILITY: &'static str = "files:read:PATH";
    const EXAMPLE: &'static str = "for _, snapshot in files.snapshots { path = \"snapshots\" } do\n    print(snapshot.service, snapshot.path)\nend";
    type World = World;
    type Output = Vec<Found>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("files", resolve(world.root(), &self.path)?.to_string_lossy()).and_beneath()])
    }
}

#[async_trait]
impl Read for Snapshots {
    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Found>> {
        only_local(context, self.node.as_deref())?;
        let path = resolve(world.root(), &self.path)?;
        let source = self.source.as_ref().map(|source| resolve(world.root(), source)).transpose()?;
        let service = self.service.clone();
        let mut found = blocking(move || list(&path)).await?;
        found.retain(|found| {
            service.as_ref().is_none_or(|service| *service == found.service)
                && source.as_ref().is_none_or(|source| source.to_string_lossy() == found.source)
        });
        Ok(found)
    }
}

fn list(path: &Path) -> Result<Vec<Found>> {
    match object::look(path)? {
        None => return Ok(Vec::new()),
        Some((_, stat)) if kind_of(&stat) == Kind::Directory => {}
        Some((_, stat)) => return Err(object::refuse_kind(path, kind_of(&stat))),
    }
    let unlisted = |error: std::io::Error| {
        Error::new(Code::FileFailed, format!("cannot list `{}`", path.display())).because(error)
    };
    let mut found = Vec::new();
    for (number, entry) in std::fs::read_dir(path).map_err(unlisted)?.enumerate() {
        if number >= MOST_FILES {
            let message = format!("`{}` has more than {MOST_FILES} entries", path.display());
            return Err(Error::new(Code::TooLarge, message));
        }
        let file = entry.map_err(unlisted)?.path();
        // What is half written begins with a dot.
        let is_one = file.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            (name.ends_with(ENDING) || name.ends_with(SEALED_ENDING)) && !name.starts_with('.')
        });
        if is_one {
            found.extend(look(&file));
        }
    }
    found.sort_by(|one: &Found, other: &Found| {
        other.taken.total_cmp(&one.taken).then_with(|| other.path.cmp(&one.path))
    });
    Ok(found)
}

/// What it is; nothing for other files.
fn look(path: &Path) -> Option<Found> {
    let file = read::open(path).ok().flatten()?;
    let size = file.metadata().ok()?.len();
    let head = read::head(path, file).ok()?;
    Some(Found {
        path: path.to_string_lossy().into_owned(),
        service: head.service,
        source: head.source,
        node: head.node,
        taken: head.taken as f64 / 1000.0,
        size,
        sealed: path.to_string_lossy().ends_with(SEALED_ENDING),
    })
}

/// A moment in milliseconds since 1970 as it stands in names: `20261123T150405Z`.
pub(super) fn stamp(moment: i64) -> String {
    let text = effect::Timestamp(moment).to_string();
    let stamp: String = text.chars().take(19).filter(|letter| !matches!(letter, '-' | ':')).collect();
    format!("{stamp}Z")
}
