//! Owns the one policy function: which request is allowed. It is the security boundary; it sees the final typed
//! request and trusts nothing that a worker said.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

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

    fn grants(&self, need: &Need) -> bool {
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
    fn covers(&self, other: &Capability) -> bool {
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

    fn denies(&self, need: &Need) -> bool {
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

/// `, did you mean …?` for the nearest of `known`, or nothing.
pub(crate) fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map(|known| format!(", did you mean `{known}`?")).unwrap_or_default()
}

/// The nearest of `known`, when it is near enough to be a slip.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(given, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len().max(given.len()) / 4)
        .min()
        .map(|(_, known)| known)
}

/// What both lists grant: of two that overlap the narrower one. Where it cannot be told which one that is, neither.
///
/// # Errors
/// `MC-P002` for a malformed or unknown capability.
pub fn narrowed(left: &[String], right: &[String]) -> Result<Vec<String>> {
    let parse = |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<Capability>>>();
    let (left, right) = (parse(left)?, parse(right)?);
    let within = |inner: &[Capability], outer: &[Capability]| {
        let covered = |capability: &&Capability| outer.iter().any(|wider| wider.covers(capability));
        inner.iter().filter(covered).map(Capability::to_string).collect::<Vec<_>>()
    };
    let mut both = within(&left, &right);
    both.extend(within(&right, &left));
    both.sort();
    both.dedup();
    Ok(both)
}

/// What a run may do: its grants, within the operator's upper bound, without what was denied.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    bound: Option<Vec<Capability>>,
    grants: Vec<Capability>,
    denials: Vec<Capability>,
    /// What whoever started the run may have runs do: each of these bounds it.
    within: Vec<Vec<Capability>>,
    /// As the run was given it.
    given: Grants,
    /// What a person has granted since; shared by all that hold this policy.
    approved: Arc<RwLock<Vec<Capability>>>,
}

/// A policy as it is recorded with a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// What was granted.
    pub allow: Vec<String>,
    /// What was denied.
    #[serde(default)]
    pub deny: Vec<String>,
    /// What whoever started it may have runs do: each of these lists bounds it, whatever is granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Vec<String>>,
}

impl Grants {
    /// What is granted when the command line says `self`: without `--allow` the operator's bound, so that a run records
    /// what it really was granted and keeps it when the configuration widens.
    #[must_use]
    pub fn or_bound(mut self, bound: Option<&[String]>) -> Self {
        if self.allow.is_empty() {
            self.allow = bound.unwrap_or_default().to_vec();
        }
        self
    }
}

impl Policy {
    /// The policy of a run: exactly its grants, within the operator's `bound` from `mcrun.toml`.
    ///
    /// # Errors
    /// `MC-P002` for a malformed or unknown capability.
    pub fn new(bound: Option<&[String]>, grants: &Grants) -> Result<Self> {
        let parse =
            |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<Capability>>>();
        let bound = bound.map(parse).transpose()?;
        Ok(Self {
            bound,
            grants: parse(&grants.allow)?,
            denials: parse(&grants.deny)?,
            within: grants.within.iter().map(|cap| parse(cap)).collect::<Result<_>>()?,
            given: grants.clone(),
            approved: Arc::default(),
        })
    }

    /// Grants capabilities to the run that is under way. Bound and denials hold for them as for all others.
    ///
    /// # Errors
    /// `MC-P002` for a malformed or unknown capability.
    pub fn grant(&self, capabilities: &[String]) -> Result<()> {
        let granted = capabilities.iter().map(|text| text.parse()).collect::<Result<Vec<Capability>>>()?;
        self.approved.write().unwrap_or_else(PoisonError::into_inner).extend(granted);
        Ok(())
    }

    /// What the run was granted, with what a person has granted since: as it is recorded.
    #[must_use]
    pub fn recorded(&self) -> Grants {
        let mut grants = self.given.clone();
        let approved = self.approved.read().unwrap_or_else(PoisonError::into_inner);
        grants.allow.extend(approved.iter().map(Capability::to_string));
        grants
    }

    /// Whether a grant could meet these needs: all lie within the operator's bound and none is denied.
    #[must_use]
    pub fn may_be_granted(&self, needs: &[Need]) -> bool {
        needs.iter().all(|need| self.is_open(need))
    }

    fn is_open(&self, need: &Need) -> bool {
        self.bound.as_deref().is_none_or(|bound| bound.iter().any(|capability| capability.grants(need)))
            && self.within.iter().all(|cap| cap.iter().any(|capability| capability.grants(need)))
            && !self.denials.iter().any(|capability| capability.denies(need))
    }

    /// The needs that are not met, in the form `--allow` takes, each once.
    #[must_use]
    pub fn missing(&self, needs: &[Need]) -> Vec<String> {
        let mut missing: Vec<String> = Vec::new();
        for need in needs.iter().filter(|need| !self.allows(need)).map(Need::to_string) {
            if !missing.contains(&need) {
                missing.push(need);
            }
        }
        missing
    }

    /// The same policy with folders that no grant opens: mcrun's own state, and `/proc`, where the host's environment
    /// lies.
    ///
    /// # Errors
    /// `MC-P002` when a folder's name cannot be written as a pattern.
    pub fn sealing_off(mut self, folders: &[&str]) -> Result<Self> {
        for folder in folders {
            self.denials.push(format!("files:read:{}/**", globset::escape(folder)).parse()?);
        }
        Ok(self)
    }

    /// Whether one need is met.
    #[must_use]
    pub fn allows(&self, need: &Need) -> bool {
        let granted = |list: &[Capability]| list.iter().any(|capability| capability.grants(need));
        let approved = || granted(&self.approved.read().unwrap_or_else(PoisonError::into_inner));
        (granted(&self.grants) || approved()) && self.is_open(need)
    }

    /// What the operator can do about a refusal.
    fn advice(&self, needs: &[Need], missing: &[String]) -> String {
        let refused = || needs.iter().filter(|need| !self.allows(need));
        let denial = refused().find_map(|need| self.denials.iter().find(|denial| denial.denies(need)));
        let outside = self.bound.as_ref().is_some_and(|bound| {
            refused().any(|need| !bound.iter().any(|capability| capability.grants(need)))
        });
        let beyond = self
            .within
            .iter()
            .any(|cap| refused().any(|need| !cap.iter().any(|capability| capability.grants(need))));
        match denial {
            Some(denial) => format!("it is denied by `{denial}`, which no `--allow` overrides"),
            None if beyond => {
                "whoever started the run may not have runs do it: `capabilities` of the rule under [access]"
                    .into()
            }
            None if outside => {
                "the operator's policy in mcrun.toml does not contain it: `--allow` cannot widen that".into()
            }
            None => format!(
                "grant it with {}; `mcrun plan FILE --allow '*'` lists all that a script needs",
                allow_arguments(missing)
            ),
        }
    }

    /// The policy function: every need must be met.
    ///
    /// # Errors
    /// `MC-P001` that lists what is missing in the form `--allow` takes.
    pub fn check(&self, effect: &str, needs: &[Need]) -> Result<()> {
        let missing = self.missing(needs);
        if missing.is_empty() {
            return Ok(());
        }
        let mut error = Error::new(Code::Denied, format!("`{effect}` needs {}", join_quoted(&missing)));
        error.hint = Some(self.advice(needs, &missing));
        error.missing = missing;
        Err(error)
    }
}

/// `--allow 'a' --allow 'b'`, quoted for a shell where needed.
#[must_use]
pub fn allow_arguments(missing: &[String]) -> String {
    let words = missing.iter().map(|need| {
        let plain = need.chars().all(|c| c.is_ascii_alphanumeric() || ":/._-,@%+=".contains(c));
        if plain { format!("--allow {need}") } else { format!("--allow '{}'", need.replace('\'', r"'\''")) }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn join_quoted(items: &[String]) -> String {
    items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(bound: Option<&[&str]>, allow: &[&str], deny: &[&str]) -> Policy {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let bound = bound.map(own);
        let grants =
            Grants { allow: own(allow), deny: own(deny), ..Grants::default() }.or_bound(bound.as_deref());
        Policy::new(bound.as_deref(), &grants).unwrap()
    }

    #[test]
    fn nothing_is_granted_by_default() {
        assert!(!policy(None, &[], &[]).allows(&Need::read("files", "/etc/hosts")));
    }

    #[test]
    fn write_includes_read_but_not_the_other_way_round() {
        let reader = policy(None, &["containers:read:mcq*"], &[]);
        assert!(reader.allows(&Need::read("containers", "mcq-api")));
        assert!(!reader.allows(&Need::write("containers", "mcq-api")));
        let writer = policy(None, &["containers:write:mcq*"], &[]);
        assert!(writer.allows(&Need::read("containers", "mcq-api")));
        assert!(!writer.allows(&Need::write("containers", "mcr")));
    }

    #[test]
    fn what_is_granted_meanwhile_stays_within_bound_and_denials() {
        let policy = policy(Some(&["files"]), &["files:read:/a"], &["files:write:/secret/**"]);
        let write = Need::write("files", "/b");
        assert_eq!(policy.missing(&[write.clone(), write.clone()]), ["files:write:/b"]);
        assert!(policy.may_be_granted(std::slice::from_ref(&write)));
        policy.clone().grant(&["files:write:/b".into(), "exec".into()]).unwrap();
        assert!(policy.allows(&write));
        assert_eq!(policy.recorded().allow, ["files:read:/a", "files:write:/b", "exec"]);
        assert_eq!(policy.recorded().deny, ["files:write:/secret/**"]);
        for need in [Need::write("exec", "/bin/sh"), Need::write("files", "/secret/a")] {
            assert!(!policy.may_be_granted(std::slice::from_ref(&need)) && !policy.allows(&need), "{need}");
        }
    }

    #[test]
    fn a_dangerous_feature_needs_its_own_word() {
        let need = Need::extra("containers", "privileged", "mcq");
        assert!(!policy(None, &["containers"], &[]).allows(&need));
        assert!(policy(None, &["containers:privileged"], &[]).allows(&need));
        assert!(policy(None, &["containers:privileged:mcq"], &[]).allows(&need));
        assert!(!policy(None, &["containers:privileged:mcr"], &[]).allows(&need));
        assert!(policy(None, &["*"], &[]).allows(&need));
    }

    #[test]
    fn a_mounted_folder_needs_everything_beneath() {
        let mount = Need::write("files", "/srv/mcq").and_beneath();
        assert!(policy(None, &["files:write:/srv/mcq/**"], &[]).allows(&mount));
        assert!(policy(None, &["files:write:/srv/**"], &[]).allows(&mount));
        assert!(!policy(None, &["files:write:/srv/mcq"], &[]).allows(&mount));
        assert!(!policy(None, &["files:write:/srv/mcq/*"], &[]).allows(&mount));
        for denial in ["/srv/mcq/keys/**", "/srv/*/keys/**", "/srv/**/*.key", "/**"] {
            let denial = format!("files:read:{denial}");
            assert!(!policy(None, &["files:write:/srv/**"], &[&denial]).allows(&mount), "{denial}");
        }
        assert!(policy(None, &["files:write:/srv/**"], &["files:read:/etc/**"]).allows(&mount));
    }

    #[test]
    fn no_grant_opens_a_folder_that_is_sealed_off() {
        let policy = policy(None, &["*"], &[]).sealing_off(&["/var/lib/mc[1]"]).unwrap();
        assert!(!policy.allows(&Need::read("files", "/var/lib/mc[1]/seal.key")));
        assert!(!policy.allows(&Need::write("files", "/var/lib/mc[1]")));
        assert!(!policy.allows(&Need::read("files", "/var/lib").and_beneath()));
        assert!(!policy.allows(&Need::read("files", "/").and_beneath()));
        assert!(policy.allows(&Need::read("files", "/var/lib/other")));
        assert!(policy.allows(&Need::write("containers", "x")));
    }

    #[test]
    fn a_star_does_not_cross_folders() {
        let policy = policy(None, &["files:read:/srv/*"], &[]);
        assert!(policy.allows(&Need::read("files", "/srv/a")));
        assert!(!policy.allows(&Need::read("files", "/srv/a/b")));
    }

    #[test]
    fn the_command_line_only_narrows_the_operators_policy() {
        let need = Need::write("containers", "mcq");
        assert!(policy(Some(&["containers"]), &[], &[]).allows(&need));
        assert!(!policy(Some(&["files"]), &["containers"], &[]).allows(&need));
        assert!(!policy(Some(&["containers"]), &["containers:write:mcr"], &[]).allows(&need));
        assert!(!policy(Some(&["containers"]), &[], &["containers:write:mcq"]).allows(&need));
    }

    #[test]
    fn a_refusal_prints_what_allow_takes() {
        let needs = [Need::write("files", "/srv/a b").and_beneath(), Need::write("containers", "x")];
        let error = policy(None, &[], &[]).check("containers.ensure", &needs).unwrap_err();
        assert_eq!(error.missing, ["files:write:/srv/a b/**", "containers:write:x"]);
        let hint = error.hint.unwrap();
        assert!(hint.contains("--allow 'files:write:/srv/a b/**' --allow containers:write:x;"), "{hint}");
        let granted = Grants { allow: error.missing, ..Grants::default() };
        assert!(Policy::new(None, &granted).unwrap().check("containers.ensure", &needs).is_ok());
    }

    #[test]
    fn unknown_words_are_errors_with_a_suggestion() {
        let error = "container:write:x".parse::<Capability>().unwrap_err();
        assert!(error.message.contains("did you mean `containers`"), "{error}");
        let error = "containers:wirte:x".parse::<Capability>().unwrap_err();
        assert!(error.message.contains("did you mean `write`"), "{error}");
        assert!("files:read:".parse::<Capability>().is_err());
        assert!("files:read:/a/[".parse::<Capability>().is_err());
    }

    #[test]
    fn whoever_started_a_run_bounds_it_whatever_is_granted() {
        let within = |lists: &[&[&str]]| {
            let within = lists.iter().map(|list| list.iter().map(|text| (*text).to_owned()).collect());
            Grants { allow: vec!["*".to_owned()], within: within.collect(), ..Grants::default() }
        };
        let grants = within(&[&["containers:write:web-*", "images"], &["containers", "files"]]);
        // It is recorded, and read again by a resume.
        let recorded: Grants = serde_json::from_value(serde_json::json!(grants)).unwrap();
        let policy = Policy::new(None, &recorded).unwrap();
        assert!(policy.allows(&Need::write("containers", "web-1")));
        for beyond in [Need::write("containers", "db"), Need::read("images", "x"), Need::read("files", "/x")]
        {
            assert!(!policy.allows(&beyond), "{beyond}");
        }
        policy.grant(&["containers:write:db".to_owned()]).unwrap();
        let error = policy.check("containers.ensure", &[Need::write("containers", "db")]).unwrap_err();
        assert!(error.hint.unwrap().contains("whoever started the run"));
        assert_eq!(policy.recorded().within, grants.within);
        assert!(Policy::new(None, &within(&[&["container"]])).is_err());
    }
}
