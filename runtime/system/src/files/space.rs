//! Owns `files.space`.

use async_trait::async_trait;
use effect::{Context, Declared, Need, Read, Result};
use rustix::fs::StatVfs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{blocking, object, resolve};
use crate::World;
use crate::node::only_local;

/// Tells how full the file system is that a path lies on. A path that is not there counts as the nearest folder above it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// The path, absolute or relative to the script's folder. Links and `..` are refused.
    path: String,
    /// The node; this one unless given.
    node: Option<String>,
}

/// How full a file system is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// How many bytes it has.
    pub size: u64,
    /// How many of them anybody may still write; what only root may is not counted.
    pub free: u64,
    /// The share in use, from 0 to 1.
    pub used: f64,
    /// The share of its inodes in use, from 0 to 1; 0 where it has no fixed number of them.
    pub inodes_used: f64,
}

impl Declared for Space {
    const NAME: &'static str = "files.space";
    const CAPABILITY: &'static str = "files:read:PATH";
    const EXAMPLE: &'static str =
        "if files.space({ path = \"/srv\" }).used > 0.9 then\n    log.warn(\"the disk is nearly full\")\nend";
    type World = World;
    type Output = Room;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("files", resolve(world.root(), &self.path)?.to_string_lossy())])
    }
}

#[async_trait]
impl Read for Space {
    const PASSING: bool = true;

    async fn read(&self, world: &World, context: &Context) -> Result<Room> {
        only_local(context, self.node.as_deref())?;
        let path = resolve(world.root(), &self.path)?;
        blocking(move || {
            for above in path.ancestors().filter(|above| above.file_name().is_some()) {
                if let Some((place, _)) = object::look(above)? {
                    let room = place.open_it(rustix::fs::OFlags::PATH).and_then(rustix::fs::fstatvfs);
                    return room.map(|room| of(&room)).map_err(|errno| place.failed("look at", errno));
                }
            }
            let room = rustix::fs::statvfs("/");
            room.map(|room| of(&room)).map_err(|errno| super::place::failed("look at", &path, errno))
        })
        .await
    }
}

fn of(room: &StatVfs) -> Room {
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    // As `df` counts: what is kept for root is neither free nor in use.
    let in_use = room.f_blocks.saturating_sub(room.f_bfree);
    Room {
        size: room.f_blocks.saturating_mul(room.f_frsize),
        free,
        used: share(in_use, in_use.saturating_add(room.f_bavail)),
        inodes_used: share(room.f_files.saturating_sub(room.f_ffree), room.f_files),
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_lie_between_nothing_and_all() {
        assert_eq!((share(0, 0), share(1, 4), share(4, 4)), (0.0, 0.25, 1.0));
        let room = of(&rustix::fs::statvfs("/").unwrap());
        assert!((0.0..=1.0).contains(&room.used) && room.free <= room.size, "{room:?}");
    }
}
