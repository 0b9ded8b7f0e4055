//! Owns what is left of a container that its engine no longer knows, and who would be harmed by it.

use std::path::Path;
use std::time::Duration;

use effect::{Code, Error};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::process::resolved;
use crate::spec::{Port, Source, Spec};

/// The leavings of a container that its engine no longer knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Orphan {
    /// The container's name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its processes that still run; none where only its storage is left, as after a reboot.
    pub processes: Vec<u32>,
    /// The paths of this machine that it may write to.
    pub volumes: Vec<String>,
}

/// How an orphan is ended.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// The time it gets before it is killed.
    pub timeout: Duration,
    /// The ports that it published, as far as that is known.
    pub ports: &'a [Port],
}

impl Orphan {
    /// Whether it still runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        !self.processes.is_empty()
    }

    /// Why `spec` must not be made beside it; nothing where neither harms the other.
    #[must_use]
    pub fn conflict(&self, spec: &Spec) -> Option<Error> {
        let refused = |message: String| {
            Error::new(Code::Orphaned, message)
                .because(match self.runs() {
                    true => format!("the engine has lost it, and its processes go on: {}", self.processes()),
                    false => "the engine has lost it, and its storage is left".to_owned(),
                })
                .hint("`mcrun recover` takes it away and makes what is recorded again")
        };
        if self.name == spec.name {
            return Some(refused(format!("an orphan has the name `{}`", spec.name)));
        }
        if !self.runs() {
            return None;
        }
        let mounts = spec.mounts().unwrap_or_default();
        let held = mounts.iter().filter(|mount| !mount.read_only).find_map(|mount| {
            self.volumes.iter().find(|volume| match &mount.source {
                Source::Host(path) => overlap(&resolved(Path::new(volume)), &resolved(Path::new(path))),
                Source::Volume(name) => *volume == "/" || volume.ends_with(&format!("/volumes/{name}/_data")),
            })
        })?;
        Some(refused(format!(
            "`{}` would be a second writer on {held}: the orphan `{}` has it",
            spec.name, self.name
        )))
    }

    /// The processes, for a person.
    #[must_use]
    pub fn processes(&self) -> String {
        self.processes.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
    }
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphan(processes: &[u32]) -> Orphan {
        Orphan {
            name: "mcr-api".to_owned(),
            id: "ab".repeat(32),
            processes: processes.to_vec(),
            volumes: vec!["/srv/mcr".to_owned()],
        }
    }

    fn spec(name: &str, volume: &str) -> Spec {
        Spec { name: name.to_owned(), volumes: vec![volume.to_owned()], ..Spec::default() }
    }

    fn message(orphan: &Orphan, spec: &Spec) -> Option<String> {
        orphan.conflict(spec).map(|error| error.message)
    }

    #[test]
    fn a_name_is_held_by_storage_alone() {
        assert_eq!(
            message(&orphan(&[]), &spec("mcr-api", "/srv/other:/data")).as_deref(),
            Some("an orphan has the name `mcr-api`")
        );
        assert_eq!(message(&orphan(&[]), &spec("mcr-web", "/srv/mcr:/data")), None);
    }

    #[test]
    fn nobody_writes_where_an_orphan_still_does() {
        for volume in ["/srv/mcr:/data", "/srv:/data", "/srv/mcr/db:/data"] {
            let said = message(&orphan(&[7]), &spec("mcr-web", volume)).expect("it is refused");
            assert!(said.contains("a second writer on /srv/mcr"), "{said}");
        }
        assert_eq!(message(&orphan(&[7]), &spec("mcr-web", "/srv/mcr:/data:ro")), None);
        let named =
            Orphan { volumes: vec!["/var/lib/containers/storage/volumes/db/_data".into()], ..orphan(&[7]) };
        assert!(message(&named, &spec("mcr-web", "db:/data")).is_some());
        assert_eq!(message(&named, &spec("mcr-web", "db2:/data")), None);
        assert_eq!(message(&orphan(&[7]), &spec("mcr-web", "/srv/mcr2:/data")), None);
    }
}
