//! Owns matching a text against many patterns at once: every pattern is kept once, and `*` stands for anything.

use std::collections::HashMap;

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use crate::{Code, Error, Result};

/// Patterns, each known by its place.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns {
    places: HashMap<String, usize>,
    globs: Vec<Glob>,
    /// Where in `set` stands which pattern: everything but `*`, which needs no look.
    others: Vec<usize>,
    any: Option<usize>,
    set: GlobSet,
    /// Patterns that cannot be read, told when they are compiled.
    broken: Option<String>,
}

/// The patterns that a text matches.
#[derive(Debug)]
pub(super) struct Matched {
    is_met: Vec<bool>,
    met: Vec<usize>,
}

impl Matched {
    /// Whether one of these patterns is among them.
    pub(super) fn has(&self, patterns: &[usize]) -> bool {
        patterns.iter().any(|pattern| self.is_met[*pattern])
    }

    pub(super) fn each(&self, with: impl FnMut(usize)) {
        self.met.iter().copied().for_each(with);
    }

    fn put(&mut self, pattern: usize) {
        if !std::mem::replace(&mut self.is_met[pattern], true) {
            self.met.push(pattern);
        }
    }
}

fn glob(text: &str) -> Result<Glob, globset::Error> {
    // Names are no paths: `*` goes beyond every sign.
    GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build()
}

/// What matches one pattern; nothing for `*`.
pub(super) fn matcher(text: &str) -> Result<Option<GlobMatcher>> {
    if text == "*" {
        return Ok(None);
    }
    let wrong = |error| Error::new(Code::Config, format!("`{text}` is no pattern")).because(error);
    Ok(Some(glob(text).map_err(wrong)?.compile_matcher()))
}

impl Patterns {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The places of these patterns.
    pub(super) fn put(&mut self, texts: &[String]) -> Vec<usize> {
        texts.iter().map(|text| self.put_one(text)).collect()
    }

    fn put_one(&mut self, text: &str) -> usize {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.places.len();
        self.places.insert(text.to_owned(), place);
        match (text, glob(text)) {
            ("*", _) => self.any = Some(place),
            (_, Ok(glob)) => {
                self.globs.push(glob);
                self.others.push(place);
            }
            (_, Err(error)) => self.broken = Some(error.to_string()),
        }
        place
    }

    pub(super) fn compile(&mut self) -> Result<(), String> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let mut builder = GlobSetBuilder::new();
        for glob in std::mem::take(&mut self.globs) {
            builder.add(glob);
        }
        self.set = builder.build().map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Whether a text matches one of them.
    pub(super) fn meets(&self, text: &str) -> bool {
        self.any.is_some() || self.set.is_match(text)
    }

    /// Which patterns one of the texts matches.
    pub(super) fn matched(&self, texts: impl IntoIterator<Item = String>) -> Matched {
        let mut matched = Matched { is_met: vec![false; self.len()], met: Vec::new() };
        self.any.into_iter().for_each(|any| matched.put(any));
        let mut found = Vec::new();
        for text in texts {
            self.set.matches_into(&text, &mut found);
            found.iter().for_each(|one| matched.put(self.others[*one]));
        }
        matched
    }
}
