//! Owns rules as they are written: `[[access.rules]]` in mcrun.toml, or `[[rules]]` in a file of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Wanted, check_action, patterns};
use crate::{Capability, Code, Error, Result};

/// Patterns of one rule.
const MOST: usize = 1000;
const LONGEST: usize = 512;
/// What the forms of principals begin with.
pub(super) const PRINCIPALS: [&str; 6] = ["user:", "certificate:", "account:", "system:", "role:", "group:"];

/// `[access]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A file with the rules, beside those that stand here.
    pub file: Option<PathBuf>,
    /// The rules.
    pub rules: Vec<Rule>,
    /// Whether what a run asks for takes somebody else than whoever started it.
    pub four_eyes: FourEyes,
}

/// A file of the policy's own, which `[access] file` names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Rules beside those of mcrun.toml.
    pub rules: Vec<Rule>,
    /// What takes somebody else, beside what mcrun.toml says of it.
    pub four_eyes: FourEyes,
}

/// `four_eyes`, of `[access]` or of a file of the policy's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "`four_eyes` is true, false or a list of patterns of runs, such as \"deploy/*\""
)]
pub enum FourEyes {
    /// Of every run, or of none.
    Always(bool),
    /// Of these runs: patterns of `PLAYBOOK/RUN` and `script:NAME/RUN`.
    Of(Vec<String>),
}

impl Default for FourEyes {
    fn default() -> Self {
        Self::Always(false)
    }
}

impl FourEyes {
    pub(super) fn patterns(&self) -> Result<Vec<String>> {
        let patterns = match self {
            Self::Always(true) => all(),
            Self::Always(false) => Vec::new(),
            Self::Of(patterns) => patterns.clone(),
        };
        let is_long = |pattern: &&String| pattern.is_empty() || pattern.len() > LONGEST;
        if patterns.len() > MOST || patterns.iter().any(|pattern| is_long(&pattern)) {
            return wrong(format!("`four_eyes` has at most {MOST} patterns of 1 to {LONGEST} octets"));
        }
        Ok(patterns)
    }
}

/// What a rule says. Of rules with one priority, one that denies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may not be done.
    Deny,
    /// It may be done.
    Allow,
}

/// One rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called where it decides.
    pub name: Option<String>,
    /// Whom it is for: patterns of `user:…`, `certificate:…`, `account:…`, `system:…`, `role:…`, `group:…`.
    pub principals: Vec<String>,
    /// What it is about: patterns of actions.
    pub actions: Vec<String>,
    /// Which objects; all unless given.
    #[serde(default = "all")]
    pub objects: Vec<String>,
    /// Parameters that must be as it says.
    #[serde(default)]
    pub params: BTreeMap<String, Wanted>,
    /// Whether it allows or denies.
    pub effect: Verdict,
    /// Rules with greater ones count first.
    #[serde(default)]
    pub priority: i32,
    /// What runs that it allows may do at most.
    pub capabilities: Option<Vec<String>>,
    /// Whether it is only about what the principal itself started, or its own account.
    #[serde(default)]
    pub own: bool,
    /// Whether it lets accounts of services touch what does not bear their own name.
    #[serde(default)]
    pub foreign: bool,
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

fn wrong<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(Code::Config, what))
}

impl Rule {
    /// One that allows principals actions, to whatever object.
    #[must_use]
    pub fn allowing(principal: &str, action: &str) -> Self {
        Self {
            name: None,
            principals: vec![principal.to_owned()],
            actions: vec![action.to_owned()],
            objects: all(),
            params: BTreeMap::new(),
            effect: Verdict::Allow,
            priority: 0,
            capabilities: None,
            own: false,
            foreign: false,
        }
    }

    /// One that allows whoever holds a certificate with this very name actions, to whatever object.
    #[must_use]
    pub fn for_certificate(name: &str, action: &str) -> Self {
        Self::allowing(&format!("certificate:{}", globset::escape(name)), action)
    }

    /// Refuses what the syntax cannot tell.
    pub(super) fn check(&self) -> Result<()> {
        let lists =
            [("principals", &self.principals), ("actions", &self.actions), ("objects", &self.objects)];
        for (key, list) in lists {
            if list.is_empty() || list.len() > MOST {
                return wrong(format!("`{key}` has 1 to {MOST} patterns"));
            }
            if let Some(long) = list.iter().find(|pattern| pattern.is_empty() || pattern.len() > LONGEST) {
                let begin = &long[..long.floor_char_boundary(40)];
                return wrong(format!("`{key}`: a pattern has 1 to {LONGEST} octets, not `{begin}`"));
            }
            list.iter().try_for_each(|pattern| patterns::matcher(pattern).map(drop))?;
        }
        let is_form =
            |pattern: &&String| *pattern == "*" || PRINCIPALS.iter().any(|form| pattern.starts_with(form));
        if let Some(other) = self.principals.iter().find(|pattern| !is_form(pattern)) {
            return wrong(format!("`principals`: `{other}` begins with none of {}", PRINCIPALS.join(", ")));
        }
        self.actions.iter().try_for_each(|action| check_action(action))?;
        for capability in self.capabilities.iter().flatten() {
            capability.parse::<Capability>()?;
        }
        if self.capabilities.is_some() && self.effect == Verdict::Deny {
            return wrong("`capabilities` bound what is allowed; this rule denies");
        }
        Ok(())
    }
}
