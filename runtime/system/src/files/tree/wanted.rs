//! Owns what a tree shall become: the entries of a source, collected within bounds.

use std::path::Path;

use effect::units::Size;
use effect::{Code, Error, Result};

use super::super::object::Kind;
use super::{Entry, Listing, MOST_ENTRIES};

/// What a tree shall be.
#[derive(Debug)]
pub(in super::super) struct Wanted {
    pub(in super::super) listing: Listing,
}

/// Collects entries and refuses what goes beyond the bounds of a call or contradicts itself.
pub(in super::super) struct Collector<'a> {
    source: &'a Path,
    limit: Size,
    most: u32,
    size: u64,
    listing: Listing,
}

impl<'a> Collector<'a> {
    pub(in super::super) fn new(source: &'a Path, limit: Size, most: u32) -> Self {
        Self { source, limit, most: most.min(MOST_ENTRIES), size: 0, listing: Listing::new() }
    }

    /// Counts a file before it is read.
    pub(in super::super) fn count(&mut self, size: u64) -> Result<()> {
        self.size = self.size.saturating_add(size);
        if self.size > self.limit.0 {
            let message = format!("`{}` holds more than {}", self.source.display(), self.limit);
            return Err(Error::new(Code::TooLarge, message).hint("raise `limit` if the size is expected"));
        }
        Ok(())
    }

    /// Takes an entry. A folder may be told twice, a file may not.
    pub(in super::super) fn add(&mut self, name: String, entry: Entry) -> Result<(), &'static str> {
        self.add_parents(&name)?;
        match self.listing.get_mut(&name) {
            None => drop(self.listing.insert(name, entry)),
            Some(known) if known.kind == Kind::Directory && entry.kind == Kind::Directory => *known = entry,
            Some(_) => return Err("is there twice"),
        }
        self.check_count()
    }

    /// Folders that are only implied.
    fn add_parents(&mut self, name: &str) -> Result<(), &'static str> {
        for (end, _) in name.match_indices('/') {
            match self.listing.get(&name[..end]) {
                None => drop(self.listing.insert(name[..end].to_owned(), Entry::folder(None))),
                Some(parent) if parent.kind == Kind::Directory => {}
                Some(_) => return Err("lies in a file"),
            }
        }
        self.check_count()
    }

    fn check_count(&self) -> Result<(), &'static str> {
        if self.listing.len() > self.most as usize { Err("is one entry too many") } else { Ok(()) }
    }

    pub(in super::super) fn finish(self) -> Wanted {
        Wanted { listing: self.listing }
    }
}
