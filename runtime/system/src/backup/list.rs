//! Owns `registry.backups`: which backups lie in a folder, by their names.

use std::path::Path;

use async_trait::async_trait;
use effect::{Code, Context, Declared, Error, Need, Read, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::World;
use crate::files::{blocking, resolve};
use crate::node::only_local;

/// A folder with more files is not looked through.
const MOST_FILES: usize = 100_000;

/// Lists the backups of mcrun's own state that lie directly in a folder, newest first: files that are called as
/// `mcrun backup` calls them. Other files are passed over; a folder that is not there has none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backups {
    /// The folder. Absolute, or relative to the script's folder; `..` is refused.
    path: String,
    /// The node; this one unless given.
    node: Option<String>,
}

/// A backup that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Its file.
    pub path: String,
    /// The node whose state it is, as its name has it.
    pub node: String,
    /// When it was taken, as its name has it: `20261123T150405Z`.
    pub taken: String,
    /// Whether it is sealed.
    pub sealed: bool,
    /// The size of the file in bytes.
    pub size: u64,
}

impl Declared for Backups {
    const NAME: &'static str = "registry.backups";
    const CAPABILITY: &'static str = "files:read:PATH";
    const EXAMPLE: &'static str = "for _, backup in registry.backups { path = \"/var/backups/mcrun/state\" } do\n    print(backup.path, backup.taken)\nend";
    type World = World;
    type Output = Vec<Listed>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("files", resolve(world.root(), &self.path)?.to_string_lossy())])
    }
}

#[async_trait]
impl Read for Backups {
    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Listed>> {
        only_local(context, self.node.as_deref())?;
        let path = resolve(world.root(), &self.path)?;
        blocking(move || list(&path)).await
    }
}

fn list(path: &Path) -> Result<Vec<Listed>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(super::failed("list", path, &error)),
    };
    let mut found = Vec::new();
    for (number, entry) in entries.enumerate() {
        let entry = entry.map_err(|error| super::failed("list", path, &error))?;
        if number >= MOST_FILES {
            let message = format!("`{}` has more than {MOST_FILES} entries", path.display());
            return Err(Error::new(Code::TooLarge, message));
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        // What is not followed is told of what lies there itself.
        let Some((node, taken, sealed)) = parse(&name) else { continue };
        let Some(stat) = entry.metadata().ok().filter(std::fs::Metadata::is_file) else { continue };
        let path = entry.path().to_string_lossy().into_owned();
        found.push(Listed { path, node, taken, sealed, size: stat.len() });
    }
    found.sort_by(|one: &Listed, other: &Listed| (&other.taken, &other.path).cmp(&(&one.taken, &one.path)));
    Ok(found)
}

/// Node, time and whether it is sealed.
fn parse(name: &str) -> Option<(String, String, bool)> {
    let rest = name.strip_prefix("mcrun-")?;
    let (rest, sealed) = match rest.strip_suffix(".age") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (node, taken) = rest.strip_suffix(".tar.zst")?.rsplit_once('-')?;
    let fits = taken.len() == 16
        && taken.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    (fits && !node.is_empty()).then(|| (node.to_owned(), taken.to_owned(), sealed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::default_name;
    use effect::Timestamp;

    #[test]
    fn a_backup_is_known_by_the_name_that_it_is_given() {
        let moment = Timestamp(1_700_000_000_000);
        for (node, sealed) in [("rift", false), ("a-b-1", true)] {
            let expected = (node.to_owned(), "20231114T221320Z".to_owned(), sealed);
            assert_eq!(parse(&default_name(node, moment, sealed)), Some(expected));
        }
        for other in ["mcrun.tar.zst", "mcrun-rift-yesterday.tar.zst", "mcrun--20231114T221320Z.tar.zst", "x"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
