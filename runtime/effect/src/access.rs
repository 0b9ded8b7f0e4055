//! Owns the policy of access: whether a principal may do something to an object, and which rule says so. It is pure, compiled
//! once, and says no where nothing says yes.
//!
//! Leaves which call is which action to the API, and what a run may do to [`crate::policy`].

mod explain;
mod params;
mod patterns;
mod rule;
mod whom;

pub use self::explain::Considered;
pub use self::params::Wanted;
pub use self::rule::{File, FourEyes, Rule, Settings, Verdict};
pub use self::whom::Whom;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use self::patterns::{Matched, Patterns};
use crate::policy::did_you_mean;
use crate::{Code, Error, Principal, Result};

/// Everything that can be allowed, with what its objects are. What ends in `.read` changes nothing.
pub const ACTIONS: &[(&str, &str)] = &[
    ("accounts.read", "Looking at an account and what is recorded of its tokens; its name."),
    ("accounts.write", "Making and changing an account, and its roles; its name."),
    ("approvals.decide", "Approving or rejecting what a run asks for; as for runs."),
    ("approvals.read", "Looking at what runs ask for; as for runs."),
    ("daemon.read", "Asking which mcrun it is; every caller that a rule allows anything may."),
    ("daemon.reload", "Having the configuration read again."),
    ("docs.delete", "Deleting a document; its slug."),
    ("docs.mark", "Marking a document as read or unread, for oneself; its slug."),
    ("docs.read", "Looking at a document; its slug."),
    ("events.emit", "Telling of an event; the event's name."),
    ("events.read", "Hearing of events; the event's name."),
    (
        "login.read",
        "Looking at rules of the login policy; the set's name. Trying a sign-in out; the account's name.",
    ),
    ("login.write", "Changing rules of the login policy; the set's name."),
    ("playbooks.read", "Looking at a playbook, its versions, its source and its times; its name."),
    ("playbooks.start", "Starting a playbook, with its parameters; its name."),
    ("routes.read", "Looking at routes; `HOSTNAME:PORT/PATH`."),
    ("routes.write", "Changing routes; `HOSTNAME:PORT/PATH`."),
    ("runs.answer", "Granting a run what it lacks; `PLAYBOOK/RUN`, or `script:NAME/RUN`."),
    ("runs.cancel", "Giving a run up; as above."),
    ("runs.interrupt", "Having a run stop for now; as above."),
    ("runs.read", "Looking at a run and following it; as above."),
    ("runs.resume", "Going on with a run; as above."),
    ("runs.submit", "Having a script of one's own executed; the script's name."),
    ("runs.undo", "Taking back what a run changed; as above."),
    (
        "services.operate",
        "Stopping, starting, restarting, removing a service, which the parameter `operation` says; its name.",
    ),
    ("services.read", "Looking at a service; its name."),
    ("tokens.issue", "Making a token for an account; the account's name."),
    ("tokens.read", "Asking whom a token stands for; the service that was given it."),
    ("tokens.revoke", "Revoking a token of an account; the account's name."),
];

/// No policy has more rules.
const MOST_RULES: usize = 10_000;

/// What somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `runs.cancel`.
    pub action: &'a str,
    /// To what; nothing where there is only one.
    pub object: &'a str,
    /// With which parameters.
    pub params: Option<&'a Map<String, Value>>,
    /// Whether the principal itself started what the object is, or is the account that it is.
    pub is_own: bool,
}

impl<'a> Request<'a> {
    /// One without parameters, to what somebody else started.
    #[must_use]
    pub fn of(action: &'a str, object: &'a str) -> Self {
        Self { action, object, params: None, is_own: false }
    }
}

/// What comes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub is_allowed: bool,
    /// The rule that says so.
    pub rule: String,
    /// What runs that come of it may do at most, beside everything else that bounds them.
    pub within: Option<Vec<String>>,
}

/// The name of what decides where no rule does.
const NO_RULE: &str = "no rule allows it";
const OWNER: &str = "built in: root and the daemon's own user";
const GUEST: &str = "built in: a guest only reads";

/// The rules, compiled.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// In the order in which they count.
    rules: Vec<Compiled>,
    principals: Patterns,
    actions: Patterns,
    objects: Patterns,
    /// The rules that name each pattern of principals.
    naming: Vec<Vec<usize>>,
    /// Whether rules were written, beyond those that follow from other settings.
    is_written: bool,
    /// Of which runs nobody may approve what he started himself: what each place says that may say so.
    four_eyes: Vec<Patterns>,
}

#[derive(Debug, Clone)]
struct Compiled {
    rule: Rule,
    name: String,
    principals: Vec<usize>,
    actions: Vec<usize>,
    objects: Vec<usize>,
}

/// What the patterns of a policy make of a request.
struct Met {
    principals: Matched,
    actions: Matched,
    objects: Matched,
}

impl Policy {
    /// Compiles the rules that were written and those that are built in: an administrator may everything, a guest may
    /// look, an account may look at itself and end its tokens, and whoever started a run may look at it. `others` follow from other settings.
    ///
    /// # Errors
    /// `MC-U002` with the rule that makes no sense.
    pub fn new(written: &[Rule], others: Vec<(String, Rule)>) -> Result<Self> {
        if written.len() > MOST_RULES {
            return Err(Error::new(Code::Config, format!("[access] has more than {MOST_RULES} rules")));
        }
        let mut names = BTreeSet::new();
        let mut rules = Vec::new();
        for (number, rule) in written.iter().enumerate() {
            let name = rule.name.clone().unwrap_or_else(|| format!("rule {}", number + 1));
            rule.check().map_err(|error| {
                let wrong = Error::new(Code::Config, format!("[access] {name}: {}", error.message));
                error.hint.into_iter().fold(wrong, Error::hint)
            })?;
            if !names.insert(name.clone()) {
                return Err(Error::new(Code::Config, format!("[access] two rules are called `{name}`")));
            }
            rules.push((name, rule.clone()));
        }
        rules.extend(others);
        rules.extend(built_in());
        // Of rules with one priority those that deny come first.
        rules.sort_by_key(|(_, rule)| (std::cmp::Reverse(rule.priority), rule.effect));
        Self::compile(rules, !written.is_empty())
    }

    fn compile(rules: Vec<(String, Rule)>, is_written: bool) -> Result<Self> {
        let mut policy = Self { is_written, ..Self::default() };
        for (name, rule) in rules {
            let place = policy.rules.len();
            let principals = policy.principals.put(&rule.principals);
            let (actions, objects) = (policy.actions.put(&rule.actions), policy.objects.put(&rule.objects));
            policy.naming.resize(policy.principals.len(), Vec::new());
            principals.iter().for_each(|pattern| policy.naming[*pattern].push(place));
            policy.rules.push(Compiled { rule, name, principals, actions, objects });
        }
        for patterns in [&mut policy.principals, &mut policy.actions, &mut policy.objects] {
            patterns.compile().map_err(|error| Error::new(Code::Config, format!("[access] {error}")))?;
        }
        Ok(policy)
    }

    /// The same, in which nobody approves what he started himself where `four_eyes` says so, beside what was said before.
    ///
    /// # Errors
    /// `MC-U002` with the pattern that is none.
    pub fn with_four_eyes(mut self, four_eyes: &FourEyes) -> Result<Self> {
        let mut patterns = Patterns::default();
        patterns.put(&four_eyes.patterns()?);
        patterns.compile().map_err(|error| Error::new(Code::Config, format!("`four_eyes`: {error}")))?;
        self.four_eyes.push(patterns);
        Ok(self)
    }

    /// Whether what the run `object` asks for takes somebody else than whoever started it.
    #[must_use]
    pub fn wants_four_eyes(&self, object: &str) -> bool {
        self.four_eyes.iter().any(|patterns| patterns.meets(object))
    }

    /// Whether rules were written at all. Where none were, whoever the socket lets in may do everything.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.is_written
    }

    /// Whether the principal may do what it asks for.
    #[must_use]
    pub fn decide(&self, principal: &Principal, request: &Request<'_>) -> Decision {
        if let Some(decision) = beforehand(principal, request.action) {
            return decision;
        }
        let met = self.meet(principal, request);
        let mut named = vec![false; self.rules.len()];
        met.principals.each(|pattern| self.naming[pattern].iter().for_each(|rule| named[*rule] = true));
        let decides = (self.rules.iter().zip(named))
            .find(|(rule, is_named)| *is_named && rule.misses(principal, request, &met).is_none());
        match decides {
            Some((compiled, _)) => Decision {
                is_allowed: compiled.rule.effect == Verdict::Allow,
                rule: compiled.name.clone(),
                within: compiled.rule.capabilities.clone().filter(|_| compiled.rule.effect == Verdict::Allow),
            },
            None => Decision { is_allowed: false, rule: NO_RULE.to_owned(), within: None },
        }
    }

    /// Whether some rule allows the principal anything at all.
    #[must_use]
    pub fn knows(&self, principal: &Principal) -> bool {
        principal.is_owner() || self.allows_some(principal, None)
    }

    /// Whether the principal may do this to some object. Which objects these are is decided one by one.
    #[must_use]
    pub fn may_some(&self, principal: &Principal, action: &str) -> bool {
        match beforehand(principal, action) {
            Some(decision) => decision.is_allowed,
            None => self.allows_some(principal, Some(action)),
        }
    }

    fn allows_some(&self, principal: &Principal, action: Option<&str>) -> bool {
        let principals = self.principals.matched(principal.forms());
        let actions = action.map(|action| self.actions.matched([action.to_owned()]));
        // What everybody may do to what is its own makes nobody known.
        self.rules.iter().any(|compiled| {
            compiled.rule.effect == Verdict::Allow
                && !(action.is_none() && compiled.rule.own)
                && principals.has(&compiled.principals)
                && actions.as_ref().is_none_or(|actions| actions.has(&compiled.actions))
        })
    }

    fn meet(&self, principal: &Principal, request: &Request<'_>) -> Met {
        Met {
            principals: self.principals.matched(principal.forms()),
            actions: self.actions.matched([request.action.to_owned()]),
            objects: self.objects.matched([request.object.to_owned()]),
        }
    }
}

/// What is decided before any rule is asked.
fn beforehand(principal: &Principal, action: &str) -> Option<Decision> {
    let decided = |is_allowed, rule: &str| Decision { is_allowed, rule: rule.to_owned(), within: None };
    if principal.is_owner() {
        return Some(decided(true, OWNER));
    }
    (principal.is_guest() && !reads(action)).then(|| decided(false, GUEST))
}

/// Whether an action changes nothing.
#[must_use]
pub fn reads(action: &str) -> bool {
    action.ends_with(".read")
}

fn built_in() -> [(String, Rule); 4] {
    let named = |name: &str, rule: Rule| (format!("built in: {name}"), rule);
    let accounts = Rule {
        principals: vec!["account:*".to_owned(), "system:*".to_owned()],
        actions: ["accounts.read", "tokens.read", "tokens.revoke"].map(str::to_owned).to_vec(),
        own: true,
        ..Rule::allowing("*", "*")
    };
    [
        named("administrators", Rule::allowing("role:admin", "*")),
        named("guests look", Rule::allowing("role:guest", "*.read")),
        named("an account looks at itself and ends its tokens", accounts),
        named("whoever started a run looks at it", Rule { own: true, ..Rule::allowing("*", "runs.read") }),
    ]
}

/// Why a rule does not decide.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Miss {
    Principal,
    Action,
    Object,
    Own,
    Foreign,
    Parameter(String),
}

impl Compiled {
    fn misses(&self, principal: &Principal, request: &Request<'_>, met: &Met) -> Option<Miss> {
        if !met.principals.has(&self.principals) {
            return Some(Miss::Principal);
        }
        if !met.actions.has(&self.actions) {
            return Some(Miss::Action);
        }
        if !met.objects.has(&self.objects) {
            return Some(Miss::Object);
        }
        if self.rule.own && !request.is_own {
            return Some(Miss::Own);
        }
        if let Principal::System { name, .. } = principal
            && self.rule.effect == Verdict::Allow
            && !(self.rule.foreign || request.is_own || belongs(request.object, name))
        {
            return Some(Miss::Foreign);
        }
        let differs = |(name, wanted): (&String, &Wanted)| {
            let given = request.params.and_then(|params| params.get(name));
            (!given.is_some_and(|given| wanted.is_met(given))).then(|| Miss::Parameter(name.clone()))
        };
        self.rule.params.iter().find_map(differs)
    }
}

/// Whether an object is a service's own: it bears its name, or one beneath it.
fn belongs(object: &str, service: &str) -> bool {
    object.strip_prefix(service).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', '/', ':']))
}

/// Refuses an action that there is not.
fn check_action(pattern: &str) -> Result<()> {
    let known = || ACTIONS.iter().map(|(action, _)| *action);
    let is_plain = !pattern.contains(['*', '?', '[', '{']);
    let is_known = match is_plain {
        true => known().any(|action| action == pattern),
        false => patterns::matcher(pattern)?.is_some_and(|glob| known().any(|action| glob.is_match(action))),
    };
    if is_known || pattern == "*" {
        return Ok(());
    }
    let suggestion = did_you_mean(pattern, known());
    Err(Error::new(Code::Config, format!("no action is `{pattern}`{suggestion}"))
        .hint("`mcrun help can-i` lists the actions"))
}

#[cfg(test)]
mod tests;
