//! Owns what a grant or a denial says, what a request needs, and when the one meets the other.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

use super::did_you_mean;
use crate::{Code, Error, Result};

/// Every primitive and the extra capabilities that its dangerous features need each.
const PRIMITIVES: &[(&str, &[&str])] = &[
    ("approvals", &["unattended"]),
    ("certs", &["wildcards", "ssh"]),
    ("containers", &["host-network", "privileged", "devices", "capabilities", "users"]),
    ("dns", &["servers"]),
    ("docs", &[]),
    ("exec", &[]),
    ("files", &[]),
    ("health", &[]),
    ("http", &[]),
    ("images", &[]),
    ("mcias", &[]),
    ("nodes", &[]),
    ("notify", &[]),
    ("ports", &[]),
    ("registry", &["backup"]),
    ("routes", &["backends"]),
    ("runs", &[]),
    ("secrets", &[]),
];

/// Every primitive that a capability can name, with the words for its dangerous features.
pub fn primitives() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    PRIMITIVES.iter().copied()
}

/// What may be done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// Look at it.
    Read,
    /// Change it; includes reading.
    Write,
    /// A feature with a capability of its own, such as `containers:privileged`.
    Extra(&'static str),
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Extra(name) => name,
        })
    }
}

/// One thing that a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// `containers`.
    pub primitive: &'static str,
    /// How it is used.
    pub access: Access,
    /// The primitive's own name of the object.
    pub name: String,
    /// True when everything beneath the name is needed too, as for a mounted folder.
    pub subtree: bool,
}

impl Need {
    /// Reading `name`.
    pub fn read(primitive: &'static str, name: impl Into<String>) -> Self {
        Self { primitive, access: Access::Read, name: name.into(), subtree: false }
    }

    /// Changing `name`.
    pub fn write(primitive: &'static str, name: impl Into<String>) -> Self {
        Self { primitive, access: Access::Write, name: name.into(), subtree: false }
    }

    /// A feature with a capability of its own.
    pub fn extra(primitive: &'static str, extra: &'static str, name: impl Into<String>) -> Self {
        Self { primitive, access: Access::Extra(extra), name: name.into(), subtree: false }
    }

    /// The same need for everything beneath the name as well.
    #[must_use]
    pub fn and_beneath(mut self) -> Self {
        self.subtree = true;
        self
    }
}

impl fmt::Display for Need {
    /// In the form `--allow` takes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.primitive, self.access)?;
        if !self.name.is_empty() {
            write!(formatter, ":{}", globset::escape(&self.name))?;
        }
        if self.subtree { formatter.write_str("/**") } else { Ok(()) }
    }
}

/// A grant or a denial: `primitive:access:pattern`; shorter forms widen.
#[derive(Debug, Clone)]
pub struct Capability {
    text: String,
    primitive: Option<&'static str>,
    access: Option<Access>,
    pattern: Option<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    matcher: GlobMatcher,
    /// For a pattern that ends in `/**`: what matches the folder itself, which it is meant to cover as well.
    folder: Option<GlobMatcher>,
}

impl Pattern {
    fn new(text: &str) -> Result<Self, globset::Error> {
        let matcher = |text: &str| {
            let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build()?;
            Ok::<_, globset::Error>(glob.compile_matcher())
        };
        let folder = text.strip_suffix("/**").map(matcher).transpose()?;
        Ok(Self { text: text.to_owned(), matcher: matcher(text)?, folder })
    }

    fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name) || self.folder.as_ref().is_some_and(|folder| folder.is_match(name))
    }

    /// The text before the first wildcard.
    fn literal_prefix(&self) -> &str {
        &self.text[..self.text.find(['*', '?', '[', '{', '\\']).unwrap_or(self.text.len())]
    }
}

impl FromStr for Capability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| {
            Error::new(Code::BadCapability, format!("capability `{text}`: {why}"))
                .hint("capabilities read `primitive:access:pattern`, such as `containers:write:mcq-*`")
        };
        if text == "*" {
            return Ok(Self { text: text.to_owned(), primitive: None, access: None, pattern: None });
        }
        let mut words = text.splitn(3, ':');
        let primitive = words.next().unwrap_or_default();
        let Some((primitive, extras)) = PRIMITIVES.iter().find(|(known, _)| *known == primitive) else {
            let known = PRIMITIVES.iter().map(|(name, _)| *name);
            return Err(bad(format!(
                "no primitive is called `{primitive}`{}",
                did_you_mean(primitive, known)
            )));
        };
        let access = match words.next() {
            None => None,
            Some("read") => Some(Access::Read),
            Some("write") => Some(Access::Write),
            Some(word) => match extras.iter().find(|extra| **extra == word) {
                Some(extra) => Some(Access::Extra(extra)),
                None => {
                    let known = ["read", "write"].into_iter().chain(extras.iter().copied());
                    let suggestion = did_you_mean(word, known);
                    return Err(bad(format!("access is `read` or `write`, not `{word}`{suggestion}")));
                }
            },
        };
        let pattern = match words.next() {
            None => None,
            Some("") => return Err(bad("the pattern is empty".into())),
            Some(pattern) => Some(Pattern::new(pattern).map_err(|error| bad(error.to_string()))?),
        };
        Ok(Self { text: text.to_owned(), primitive: Some(primitive), access, pattern })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Capability {
    fn covers_primitive(&self, need: &Need) -> bool {
        self.primitive.is_none_or(|primitive| primitive == need.primitive)
    }

    pub(super) fn grants(&self, need: &Need) -> bool {
        let access = match (self.access, need.access) {
            // Bare `containers` widens over names and read or write; a dangerous feature needs its own word, or `*`.
            (None, Access::Extra(_)) => self.primitive.is_none(),
            (None | Some(Access::Write), Access::Read | Access::Write) => true,
            (Some(granted), needed) => granted == needed,
        };
        access && self.covers_primitive(need) && self.covers_name(need)
    }

    fn covers_name(&self, need: &Need) -> bool {
        let Some(pattern) = &self.pattern else { return true };
        pattern.matches(&need.name)
            && (!need.subtree || pattern.matches(&format!("{}/any/thing", need.name.trim_end_matches('/'))))
    }

    /// Whether all that `other` grants is granted by this one too, as far as that can be told from the patterns.
    pub(super) fn covers(&self, other: &Capability) -> bool {
        let access = match (self.access, other.access) {
            (None, _) if self.primitive.is_none() => true,
            (None, Some(Access::Extra(_))) => false,
            (None | Some(Access::Write), _) => !matches!(other.access, Some(Access::Extra(_))),
            (granted, needed) => granted == needed,
        };
        let primitive = self.primitive.is_none() || self.primitive == other.primitive;
        let name = match (&self.pattern, &other.pattern) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => {
                own.text == other.text || (other.literal_prefix() == other.text && own.matches(&other.text))
            }
        };
        access && primitive && name
    }

    pub(super) fn denies(&self, need: &Need) -> bool {
        let access = match (self.access, need.access) {
            (None, _) => true,
            // What may not be read may not be written either, since writing includes reading.
            (Some(Access::Read), Access::Read | Access::Write) => true,
            (Some(denied), needed) => denied == needed,
        };
        access && self.covers_primitive(need) && self.touches_name(need)
    }

    /// A folder is denied together with everything above it that would include it.
    fn touches_name(&self, need: &Need) -> bool {
        let Some(pattern) = &self.pattern else { return true };
        let folder = format!("{}/", need.name.trim_end_matches('/'));
        let prefix = pattern.literal_prefix();
        // Which of a tree's files a wildcard means cannot be told from names alone: when it may mean one, it counts.
        let may_lie_beneath =
            prefix.starts_with(&folder) || (prefix != pattern.text && folder.starts_with(prefix));
        pattern.matches(&need.name) || (need.subtree && may_lie_beneath)
    }
}
