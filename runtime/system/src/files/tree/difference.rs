//! Owns the comparison of a tree that was found with the one that is wanted, and how a plan shows it.

use std::path::Path;

use effect::units::Mode;
use effect::{Action, Change, Context, FieldChange, Result};
use serde_json::{Value, json};

use super::super::object::{self, Kind, Object};
use super::super::owner::Owner;
use super::folder::{Excludes, Folder, with_planned};
use super::{Budget, Entry, Listing, Tree};

/// How many entries a plan names; the rest is counted.
const NAMED: usize = 200;

/// How the two sides are brought together.
pub(in super::super) struct Rules<'a> {
    pub(in super::super) path: &'a Path,
    /// What the tree has and the source does not goes away.
    pub(in super::super) delete: bool,
    /// What is neither taken nor removed.
    pub(in super::super) excludes: &'a Excludes,
    pub(in super::super) owner: Option<Owner>,
    pub(in super::super) entries: u32,
}

/// What has to be done to a tree, by names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Difference {
    pub(in super::super) added: Vec<String>,
    /// Another content, mode or owner.
    pub(in super::super) changed: Vec<String>,
    pub(in super::super) removed: Vec<String>,
}

impl Rules<'_> {
    /// Looks at the tree: of everything in it with `delete`, else of what is wanted. Contents that would be lost are kept,
    /// and so are the names of what is not there: undo takes that away again.
    pub(in super::super) fn observe(&self, wanted: &Listing, context: &Context) -> Result<Option<Tree>> {
        let folder = Folder::open(self.path)?;
        let absent = folder.is_none() && !super::super::is_planned(context, self.path);
        let mut listing = match folder {
            Some(folder) => self.found_in(&folder, wanted, context)?,
            None => Listing::new(),
        };
        if context.planning() {
            with_planned(context, self.path, &mut listing, |name| {
                wanted.contains_key(name) || (self.delete && !self.excludes.leave_out_whole(name))
            })?;
        }
        let missing = wanted.keys().filter(|name| !listing.contains_key(*name));
        let tree = Tree { absent, ..Tree::of(self.path, &listing, &context.sealer) };
        tree.with_entries(&listing, missing, &context.sealer).map(Some)
    }

    fn found_in(&self, folder: &Folder, wanted: &Listing, context: &Context) -> Result<Listing> {
        let mut budget = Budget::of_a_tree();
        let mut keep = |name: &str, hash: &str, size: u64| {
            wanted.get(name).is_none_or(|entry| entry.hash.as_deref() != Some(hash)) && budget.takes(size)
        };
        let mut found = folder.find(wanted.keys(), &context.sealer, &mut keep)?;
        if self.delete {
            let walked = folder.walk(self.excludes, self.entries.saturating_mul(2))?;
            let others: Vec<String> = walked.found.into_iter().map(|(name, _)| name).collect();
            // A folder around something that is left out stays.
            let is_surplus = |name: &&String| !wanted.contains_key(*name) && !walked.kept.contains(*name);
            found.append(&mut folder.find(others.iter().filter(is_surplus), &context.sealer, &mut keep)?);
        }
        Ok(found)
    }

    /// Compares.
    pub(in super::super) fn compare(&self, wanted: &Listing, found: &Listing) -> Result<Difference> {
        let mut difference = Difference::default();
        for (name, entry) in wanted {
            match found.get(name) {
                None => difference.added.push(name.clone()),
                Some(old) if old.kind != entry.kind && !self.delete => {
                    return Err(object::refuse_kind(&self.path.join(name), old.kind));
                }
                Some(old) if old.kind != entry.kind => {
                    difference.removed.push(name.clone());
                    difference.added.push(name.clone());
                }
                Some(old) if self.differs(entry, old) => difference.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        if self.delete {
            difference.removed.extend(found.keys().filter(|name| !wanted.contains_key(*name)).cloned());
            difference.removed.sort();
        }
        Ok(difference)
    }

    fn differs(&self, entry: &Entry, old: &Entry) -> bool {
        let owner = self.owner.map(|owner| owner.to_string()).or_else(|| entry.owner.clone());
        entry.hash != old.hash
            || (entry.mode.is_some() && entry.mode != old.mode)
            || (owner.is_some() && owner != old.owner)
    }

    /// The change that a plan shows and a run makes.
    pub(in super::super) fn change(
        &self,
        wanted: &Listing,
        before: Option<&Tree>,
        context: &Context,
    ) -> Result<Change<Tree>> {
        let mut found =
            before.map_or_else(|| Ok(Listing::new()), |before| before.listing(&context.sealer))?;
        if context.planning() {
            with_planned(context, self.path, &mut found, |name| {
                wanted.contains_key(name) || (self.delete && !self.excludes.leave_out_whole(name))
            })?;
        }
        let difference = self.compare(wanted, &found)?;
        let after = Tree::of(self.path, &settled(wanted, &found), &context.sealer);
        let was_there = before.is_some_and(|before| !before.absent);
        if was_there && difference == Difference::default() {
            return Ok(Change::none(Some(after)));
        }
        let after = if context.planning() {
            self.foretell(wanted, &found, &difference, context);
            after.with_entries(&settled(wanted, &found), std::iter::empty(), &context.sealer)?
        } else {
            after
        };
        let action = if was_there { Action::Update } else { Action::Create };
        let mut change = Change::to(action, Some(after), fields(wanted, &found, &difference, self.owner));
        change.notes = notes(wanted, &difference);
        change.lost.extend(lost(wanted, &found, &difference));
        Ok(change)
    }

    /// Tells the plan's later effects what will lie here.
    pub(super) fn foretell(
        &self,
        wanted: &Listing,
        found: &Listing,
        difference: &Difference,
        context: &Context,
    ) {
        let key = |name: &str| context.key("files", None, &self.path.join(name).to_string_lossy());
        for name in &difference.removed {
            context.overlay.set::<Object>(&key(name), None);
        }
        let own =
            Owner { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() };
        let object = |path: &Path, entry: &Entry, old: Option<&Entry>| Object {
            path: path.to_string_lossy().into_owned(),
            kind: entry.kind,
            size: entry.size,
            hash: entry.hash.clone(),
            mode: Mode(entry.mode.or(old.and_then(|old| old.mode)).unwrap_or(entry.new_mode())),
            owner: self
                .owner
                .map(|owner| owner.to_string())
                .or_else(|| entry.owner.clone())
                .or_else(|| old.and_then(|old| old.owner.clone()))
                .unwrap_or_else(|| own.to_string()),
            content: entry.content.as_ref().map(|content| context.sealer.hide(content)),
        };
        for name in difference.added.iter().chain(&difference.changed) {
            if let Some(entry) = wanted.get(name) {
                let planned = object(&self.path.join(name), entry, found.get(name));
                context.overlay.set(&key(name), Some(&planned));
            }
        }
        let root = context.key("files", None, &self.path.to_string_lossy());
        if context.overlay.get::<Object>(&root).is_none()
            && Folder::open(self.path).is_ok_and(|found| found.is_none())
        {
            context.overlay.set(&root, Some(&object(self.path, &Entry::folder(None), None)));
        }
    }
}

/// The entries as they will be: a mode that is left open stays as it is.
pub(super) fn settled(wanted: &Listing, found: &Listing) -> Listing {
    let settle = |(name, entry): (&String, &Entry)| {
        let mode = entry.mode.or_else(|| found.get(name).filter(|old| old.kind == entry.kind)?.mode);
        (name.clone(), Entry { mode, content: None, ..entry.clone() })
    };
    wanted.iter().map(settle).collect()
}

fn line(entry: &Entry, mode: Option<u32>, owner: Option<&String>) -> Value {
    let mode = Mode(mode.unwrap_or_else(|| entry.new_mode()));
    let what = match (entry.kind, &entry.hash) {
        (Kind::Directory, _) => "folder".to_owned(),
        (Kind::Link, _) => "link".to_owned(),
        (Kind::Other, _) => "device, pipe or socket".to_owned(),
        (Kind::File, Some(hash)) => format!("{} bytes, {}", entry.size, &hash[..hash.len().min(12)]),
        (Kind::File, None) => format!("{} bytes", entry.size),
    };
    match owner {
        Some(owner) => json!(format!("{what}, {mode}, {owner}")),
        None => json!(format!("{what}, {mode}")),
    }
}

pub(super) fn fields(
    wanted: &Listing,
    found: &Listing,
    difference: &Difference,
    owner: Option<Owner>,
) -> Vec<FieldChange> {
    let owner = owner.map(|owner| owner.to_string());
    let new = |name: &String| {
        wanted.get(name).map(|entry| {
            let old = found.get(name).filter(|old| old.kind == entry.kind);
            line(entry, entry.mode.or_else(|| old?.mode), owner.as_ref())
        })
    };
    let old = |name: &String| {
        found.get(name).map(|entry| line(entry, entry.mode, entry.owner.as_ref().filter(|_| owner.is_some())))
    };
    let field = |name: &String, before: Option<Value>, after: Option<Value>| FieldChange {
        path: name.clone(),
        before,
        after,
        replaces: false,
    };
    let removed = difference.removed.iter().map(|name| field(name, old(name), None));
    let changed = difference.changed.iter().map(|name| field(name, old(name), new(name)));
    let added = difference.added.iter().map(|name| field(name, None, new(name)));
    let mut fields: Vec<FieldChange> = removed.chain(changed).chain(added).collect();
    fields.sort_by(|left, right| left.path.cmp(&right.path));
    fields.truncate(NAMED);
    fields
}

fn notes(wanted: &Listing, difference: &Difference) -> Vec<String> {
    let Difference { added, changed, removed } = difference;
    let touched = added.len() + changed.len();
    let mut notes = vec![format!(
        "{} added, {} changed, {} removed, {} as they are",
        added.len(),
        changed.len(),
        removed.len(),
        wanted.len().saturating_sub(touched)
    )];
    if touched + removed.len() > NAMED {
        notes.push(format!("the first {NAMED} are named"));
    }
    notes
}

/// What undo could not bring back.
fn lost(wanted: &Listing, found: &Listing, difference: &Difference) -> Option<String> {
    let is_lost = |name: &&String| {
        let old = found.get(*name);
        let replaced = wanted.get(*name).is_none_or(|entry| old.is_some_and(|old| old.hash != entry.hash));
        replaced
            && old.is_some_and(|old| match old.kind {
                Kind::File => old.content.is_none(),
                Kind::Other => true,
                Kind::Directory | Kind::Link => false,
            })
    };
    let lost = difference.changed.iter().chain(&difference.removed).filter(is_lost).count();
    (lost > 0).then(|| format!("the old content of {lost} is too large to be kept for undo"))
}
