//! Owns the way back of a tree: what a change replaced and removed is there again, and what it added is gone. What others
//! have put beside it meanwhile stays.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use effect::{Action, Applied, Change, Code, Context, Error, Result};
use rustix::io::Errno;

use super::super::object::{Kind, Object};
use super::super::{blocking, remove, store};
use super::difference::{fields, settled};
use super::folder::with_planned;
use super::{Difference, Excludes, Folder, Listing, MOST_ENTRIES, Rules, Tree, Writer};

/// What is there now. Of which files it tells nothing: which count is known to the earlier state alone.
pub(in super::super) async fn observe(path: PathBuf, context: &Context) -> Result<Option<Tree>> {
    let sealer = context.sealer.clone();
    blocking(move || Ok(Folder::open(&path)?.map(|_| Tree::of(&path, &Listing::new(), &sealer)))).await
}

/// What bringing `earlier` back changes.
pub(in super::super) async fn compare(
    path: PathBuf,
    context: &Context,
    earlier: Option<&Tree>,
) -> Result<Change<Tree>> {
    let (earlier, context) = (known(&path, earlier)?, context.clone());
    blocking(move || Back::find(&path, &earlier, &context)?.change()).await
}

/// Brings it back.
pub(in super::super) async fn apply(
    path: PathBuf,
    context: &Context,
    earlier: Option<&Tree>,
) -> Result<Applied<Tree>> {
    let (earlier, context) = (known(&path, earlier)?, context.clone());
    blocking(move || {
        let back = Back::find(&path, &earlier, &context)?;
        back.apply()?;
        Ok(Applied { after: back.after(), writes: Vec::new() })
    })
    .await
}

fn known(path: &Path, earlier: Option<&Tree>) -> Result<Tree> {
    let unknown = || {
        Error::new(Code::NotUndoable, format!("what was in `{}` is not known", path.display()))
            .because("nothing was recorded of it")
    };
    earlier.filter(|earlier| earlier.entries.is_some()).cloned().ok_or_else(unknown)
}

/// Both sides of the way back, as they are now.
struct Back<'a> {
    path: &'a Path,
    context: &'a Context,
    /// What was there.
    wanted: Listing,
    /// What is there of it, and of what was not.
    found: Listing,
    difference: Difference,
    /// Folders that were not there and hold something else now.
    staying: BTreeSet<String>,
    is_there: bool,
    /// Whether the folder itself goes: it was not there, and nothing else is in it.
    goes: bool,
}

impl<'a> Back<'a> {
    fn find(path: &'a Path, earlier: &Tree, context: &'a Context) -> Result<Self> {
        let (wanted, absent) = earlier.kept(&context.sealer)?;
        let folder = Folder::open(path)?;
        let mut found = match &folder {
            Some(folder) => {
                folder.find(wanted.keys().chain(&absent), &context.sealer, &mut |_, _, _| false)?
            }
            None => Listing::new(),
        };
        if context.planning() {
            let absent: BTreeSet<&String> = absent.iter().collect();
            let is_relevant = |name: &str| wanted.contains_key(name) || absent.contains(&name.to_owned());
            with_planned(context, path, &mut found, is_relevant)?;
        }
        let mut staying = BTreeSet::new();
        let mut goes = earlier.absent;
        if let Some(folder) = &folder {
            let leaves = |found: &Listing, name: &str| -> Result<bool> {
                let inside = folder.children(name)?;
                Ok(inside.iter().all(|child| found.contains_key(child) && !wanted.contains_key(child)))
            };
            let surplus: Vec<String> =
                found.keys().filter(|name| !wanted.contains_key(*name)).rev().cloned().collect();
            for name in surplus {
                if found.get(&name).is_some_and(|entry| entry.kind == Kind::Directory)
                    && folder.look(&name)?.is_some()
                    && !leaves(&found, &name)?
                {
                    found.remove(&name);
                    staying.insert(name);
                }
            }
            goes = goes && leaves(&found, "")?;
        }
        let excludes = Excludes::new("undo", &[])?;
        let difference = rules(path, &excludes).compare(&wanted, &found)?;
        let is_there = folder.is_some();
        let back = Self { path, context, wanted, found, difference, staying, is_there, goes };
        back.check_contents()?;
        back.check_replaced(folder.as_ref())?;
        Ok(back)
    }

    /// Refuses what was not kept.
    fn check_contents(&self) -> Result<()> {
        let writes = |name: &&String| {
            let entry = &self.wanted[*name];
            let is_same = self.found.get(*name).is_some_and(|old| old.hash == entry.hash);
            match entry.kind {
                Kind::File => entry.content.is_none() && !is_same,
                Kind::Link => entry.content.is_none() && self.difference.added.contains(name),
                Kind::Other => self.difference.added.contains(name),
                Kind::Directory => false,
            }
        };
        let mut lost = self.difference.added.iter().chain(&self.difference.changed).filter(writes);
        let Some(first) = lost.next() else { return Ok(()) };
        let more = match lost.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!("the content that `{}`{more} had is not kept", self.path.join(first).display());
        Err(Error::new(Code::NotUndoable, message).because(store::NOT_RESTORABLE))
    }

    /// Refuses to remove a folder with something in it where a file was.
    fn check_replaced(&self, folder: Option<&Folder>) -> Result<()> {
        let Some(folder) = folder else { return Ok(()) };
        for name in &self.difference.removed {
            let is_folder = self.found.get(name).is_some_and(|entry| entry.kind == Kind::Directory);
            if !is_folder || folder.look(name)?.is_none() {
                continue;
            }
            let others = folder.children(name)?;
            if let Some(other) = others.iter().find(|child| !self.difference.removed.contains(child)) {
                let message =
                    format!("the folder `{}` takes the place of a file", self.path.join(name).display());
                return Err(Error::new(Code::FileFailed, message)
                    .because(format!("it holds `{other}`"))
                    .hint("remove what lies in it first"));
            }
        }
        Ok(())
    }

    fn after(&self) -> Option<Tree> {
        let whole = Tree::of(self.path, &settled(&self.wanted, &self.found), &self.context.sealer);
        (!self.goes).then_some(whole)
    }

    fn change(&self) -> Result<Change<Tree>> {
        let is_same = self.difference == Difference::default();
        if is_same && (!self.is_there || !self.goes) {
            return Ok(Change::none(self.after().filter(|_| self.is_there)));
        }
        if self.context.planning() {
            self.foretell()?;
        }
        let action = match (self.is_there, self.goes) {
            (true, true) => Action::Remove,
            (true, false) => Action::Update,
            (false, _) => Action::Create,
        };
        let shown = fields(&self.wanted, &self.found, &self.difference, None);
        let mut change = Change::to(action, self.after(), shown);
        let Difference { added, changed, removed } = &self.difference;
        change.notes.push(format!(
            "{} brought back, {} as before again, {} taken away",
            added.len(),
            changed.len(),
            removed.len()
        ));
        if let Some(first) = self.staying.first() {
            let count = self.staying.len();
            change.notes.push(format!("{count} folders stay, `{first}` first: they hold something else now"));
        }
        Ok(change)
    }

    fn foretell(&self) -> Result<()> {
        let excludes = Excludes::new("undo", &[])?;
        rules(self.path, &excludes).foretell(&self.wanted, &self.found, &self.difference, self.context);
        if self.goes {
            let root = self.context.key("files", None, &self.path.to_string_lossy());
            self.context.overlay.set::<Object>(&root, None);
        }
        Ok(())
    }

    fn apply(&self) -> Result<()> {
        if !self.is_there && self.difference == Difference::default() {
            return Ok(());
        }
        let folder = Folder::make(self.path, true)?;
        let sides = (&self.wanted, &self.found, &self.difference);
        let token = store::token(self.context);
        let writer = Writer::begin(folder, sides, None, &self.context.sealer, &token)?;
        for name in writer.files() {
            let content = self.wanted[name].content.as_deref().unwrap_or_default();
            writer.file(name, &mut &*content)?;
        }
        for name in self.difference.added.iter().filter(|name| self.wanted[*name].kind == Kind::Link) {
            writer.link(name, self.wanted[name].content.as_deref().unwrap_or_default())?;
        }
        writer.finish()?;
        if self.goes { remove::remove(self.path, Kind::Directory) } else { Ok(()) }
    }
}

fn rules<'a>(path: &'a Path, excludes: &'a Excludes) -> Rules<'a> {
    Rules { path, delete: true, excludes, owner: None, entries: MOST_ENTRIES }
}

impl Folder {
    /// The paths of what lies in the folder `name`; those that no tree of ours can have are told by their end.
    fn children(&self, name: &str) -> Result<Vec<String>> {
        use rustix::fs::{Dir, OFlags};
        let failed = |errno: Errno| self.failed("list", name, errno);
        let fd = self.at(name, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        let mut children = Vec::new();
        for entry in Dir::new(fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let last = entry.file_name().to_string_lossy();
            if !matches!(&*last, "." | "..") {
                children.push(if name.is_empty() { last.into_owned() } else { format!("{name}/{last}") });
            }
        }
        Ok(children)
    }
}
