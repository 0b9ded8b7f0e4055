//! Owns `files.stat`.

use async_trait::async_trait;
use effect::units::Mode;
use effect::{Context, Declared, Need, Read, Result};
use rustix::fs::Stat as Found;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::object::{self, Kind, Object};
use super::owner::{Owner, group_name, user_name};
use super::{blocking, key, resolve};
use crate::World;
use crate::node::only_local;

/// Tells whether a path exists, and what lies there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stat {
    /// The path, absolute or relative to the script's folder. A link is described itself, never followed.
    path: String,
    /// The node; this one unless given.
    node: Option<String>,
}

/// What lies at a path.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Whether anything does. The other fields are there only then.
    pub exists: bool,
    /// `file`, `directory`, `link` or `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The permission bits, such as `"0640"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The user it belongs to, by name where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The group it belongs to, by name where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// When the content last changed, in seconds since 1970. Absent for what a plan will have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<f64>,
}

impl Declared for Stat {
    const NAME: &'static str = "files.stat";
    const CAPABILITY: &'static str = "files:read:PATH";
    const EXAMPLE: &'static str =
        "if files.stat({ path = \"/etc/hosts\" }).exists then print(\"it is there\") end";
    type World = World;
    type Output = Status;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("files", resolve(world.root(), &self.path)?.to_string_lossy())])
    }
}

#[async_trait]
impl Read for Stat {
    async fn read(&self, world: &World, context: &Context) -> Result<Status> {
        only_local(context, self.node.as_deref())?;
        match context.overlay.get::<Object>(&key(context, self.node.as_deref(), &self.path)) {
            Some(planned) => Ok(planned.map(|object| from_object(&object)).unwrap_or_default()),
            None => {
                let path = resolve(world.root(), &self.path)?;
                let found = blocking(move || object::look(&path)).await?;
                Ok(found.map(|(_, stat)| from_stat(&stat)).unwrap_or_default())
            }
        }
    }
}

fn from_object(object: &Object) -> Status {
    let owner = object.owner();
    Status {
        exists: true,
        kind: Some(object.kind),
        size: Some(object.size),
        mode: Some(object.mode),
        owner: owner.map(|owner| user_name(owner.user)),
        group: owner.map(|owner| group_name(owner.group)),
        modified: None,
    }
}

fn from_stat(stat: &Found) -> Status {
    let owner = Owner { user: stat.st_uid, group: stat.st_gid };
    let kind = object::kind_of(stat);
    Status {
        exists: true,
        kind: Some(kind),
        size: Some(if kind == Kind::Directory { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) }),
        mode: Some(Mode(stat.st_mode & 0o7777)),
        owner: Some(user_name(owner.user)),
        group: Some(group_name(owner.group)),
        modified: Some(stat.st_mtime as f64 + (stat.st_mtime_nsec / 1_000_000) as f64 / 1000.0),
    }
}
