//! Owns `files.own`: a tree that belongs to a user whose number has changed.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use async_trait::async_trait;
use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Error, FieldChange, Need, Result};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Uid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::owner::{Owner, Wish};
use super::place::{Place, failed};
use super::snapshot::walk::walk;
use super::{blocking, key, object, resolve};
use crate::World;
use crate::node::only_local;

/// Gives what belongs to one owner in a tree to another: the folder itself and everything beneath it, as after the number
/// of a user was changed. What belongs to others stays theirs.
///
/// Links are given themselves and never followed; other file systems beneath the folder are left alone. Programs lose their
/// set-user-ID and set-group-ID bits, as with `chown`: whose program it was must not become a program of another's rights.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// The folder, absolute or relative to the script's folder. Links and `..` are refused.
    path: String,
    /// Whose it was, by numbers: `"995:995"`.
    was: String,
    /// Whose it is to be: `"850:850"`, or by name.
    owner: Wish,
    /// The node; this one unless given.
    node: Option<String>,
}

/// How much of a tree belongs to the owner that it is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owned {
    /// The folder.
    pub path: String,
    /// How many files, folders and links.
    pub entries: u64,
}

impl Own {
    fn owners(&self) -> Result<(Owner, Owner)> {
        let from = Owner::parse(&self.was).ok_or_else(|| {
            Error::new(Code::Argument, format!("field `was`: `{}` is not USER:GROUP by numbers", self.was))
                .hint("`ls -n` shows the numbers of owners: write `was = \"995:995\"`")
        })?;
        Ok((from, self.owner.resolve()?))
    }
}

impl Declared for Own {
    const NAME: &'static str = "files.own";
    const CAPABILITY: &'static str = "files:write:PATH/**";
    const EXAMPLE: &'static str = "files.directory { path = \"data\" }\n\
        files.own { path = \"data\", was = \"995:995\", owner = \"850:850\" }";
    type World = World;
    type Output = Ensured<Owned>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let path = resolve(world.root(), &self.path)?;
        Ok(vec![Need::write("files", path.to_string_lossy()).and_beneath()])
    }
}

#[async_trait]
impl effect::Ensure for Own {
    type State = Owned;

    fn key(&self, context: &Context) -> String {
        key(context, self.node.as_deref(), &self.path).replacen("files:", "files-owner:", 1)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Owned>> {
        only_local(context, self.node.as_deref())?;
        let path = resolve(world.root(), &self.path)?;
        let (from, to) = self.owners()?;
        blocking(move || visit(&path, from, to, Purpose::Count)).await
    }

    async fn change(&self, _: &World, _: &Context, before: Option<&Owned>) -> Result<Change<Owned>> {
        let (from, to) = self.owners()?;
        let Some(before) = before.filter(|before| before.entries > 0 && from != to) else {
            return Ok(Change::none(before.cloned()));
        };
        let field = FieldChange {
            path: "owner".into(),
            before: Some(from.to_string().into()),
            after: Some(to.to_string().into()),
            replaces: false,
        };
        let after = Owned { entries: 0, ..before.clone() };
        let count = before.entries;
        let what = if count == 1 { "1 file".to_owned() } else { format!("{count} files and folders") };
        Ok(Change::to(Action::Update, Some(after), vec![field]).note(what))
    }

    async fn apply(
        &self,
        world: &World,
        _: &Context,
        _: Option<&Owned>,
        _: &Change<Owned>,
    ) -> Result<Applied<Owned>> {
        let path = resolve(world.root(), &self.path)?;
        let (from, to) = self.owners()?;
        let left = blocking(move || {
            visit(&path, from, to, Purpose::Change)?;
            visit(&path, from, to, Purpose::Count)
        });
        Ok(left.await?.map_or_else(Applied::gone, Applied::to))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Count,
    Change,
}

/// Goes through a tree and counts, or changes, what belongs to `from`; nothing where there is no such folder.
fn visit(path: &Path, from: Owner, to: Owner, purpose: Purpose) -> Result<Option<Owned>> {
    let Some((place, root)) = object::look(path)? else { return Ok(None) };
    if object::kind_of(&root) != object::Kind::Directory {
        return Err(object::refuse_kind(path, object::kind_of(&root)));
    }
    let mut entries = 0;
    let mut one = |above: BorrowedFd<'_>, name: &OsStr, stat: &Stat, shown: &Path| {
        let (user, group) = (stat.st_uid == from.user, stat.st_gid == from.group);
        if stat.st_dev != root.st_dev || !(user || group) {
            return Ok(());
        }
        entries += 1;
        if purpose == Purpose::Count {
            return Ok(());
        }
        let user = user.then(|| Uid::from_raw(to.user));
        let group = group.then(|| Gid::from_raw(to.group));
        // The owner may still change the tree: what is given away is exactly what was looked at, by a descriptor.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(above, name, flags, Mode::empty()) else { return Ok(()) };
        let now = rustix::fs::fstat(&file).map_err(|errno| failed("look at", shown, errno))?;
        if identity(&now) != identity(stat) {
            return Ok(());
        }
        rustix::fs::chownat(&file, c"", user, group, AtFlags::EMPTY_PATH)
            .map_err(|errno| failed("give away", shown, errno))
    };
    let folder = open(&place)?;
    walk(folder, path, &mut |found| {
        let shown = path.join(OsStr::from_bytes(found.path));
        one(found.above, OsStr::from_bytes(found.name.to_bytes()), &found.stat, &shown)
    })?;
    // The folder itself comes last: one that is cut finds the same tree.
    one(place.folder.as_fd(), &place.name, &root, path)?;
    Ok(Some(Owned { path: path.to_string_lossy().into_owned(), entries }))
}

fn identity(stat: &Stat) -> (u64, u64, u32, u32) {
    (stat.st_dev, stat.st_ino, stat.st_uid, stat.st_gid)
}

fn open(place: &Place) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    place.open_it(flags).map_err(|errno| place.failed("list", errno))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};

    use super::*;

    const OLD: Owner = Owner { user: 995, group: 995 };
    const NEW: Owner = Owner { user: 850, group: 851 };

    fn owner(path: &Path) -> (u32, u32) {
        let metadata = std::fs::symlink_metadata(path).unwrap();
        (metadata.uid(), metadata.gid())
    }

    fn count(path: &Path) -> u64 {
        visit(path, OLD, NEW, Purpose::Count).unwrap().unwrap().entries
    }

    #[test]
    fn what_belonged_to_the_old_owner_is_the_new_ones_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("mcq");
        let outside = folder.path().join("outside");
        std::fs::create_dir_all(root.join("db")).unwrap();
        for file in [&root.join("db/data"), &root.join("tool"), &root.join("other"), &outside] {
            std::fs::write(file, "x").unwrap();
        }
        symlink(&outside, root.join("link")).unwrap();
        std::fs::set_permissions(root.join("tool"), std::fs::Permissions::from_mode(0o4755)).unwrap();
        for path in [&root, &root.join("db"), &root.join("db/data"), &root.join("tool"), &outside] {
            chown(path, Some(995), Some(995)).unwrap();
        }
        lchown(root.join("link"), Some(995), Some(995)).unwrap();
        std::fs::set_permissions(root.join("tool"), std::fs::Permissions::from_mode(0o4755)).unwrap();
        chown(root.join("other"), Some(1000), Some(995)).unwrap();

        assert_eq!(count(&root), 6);
        visit(&root, OLD, NEW, Purpose::Change).unwrap();
        assert_eq!(count(&root), 0);
        for path in ["", "db", "db/data", "tool", "link"] {
            assert_eq!(owner(&root.join(path)), (850, 851), "{path}");
        }
        assert_eq!(owner(&root.join("other")), (1000, 851));
        assert_eq!(owner(&outside), (995, 995), "a link leads nowhere");
        assert_eq!(
            std::fs::metadata(root.join("tool")).unwrap().mode() & 0o7777,
            0o755,
            "no program of the new owner's rights"
        );
        assert_eq!(visit(&root.join("missing"), OLD, NEW, Purpose::Count).unwrap(), None);
    }
}
