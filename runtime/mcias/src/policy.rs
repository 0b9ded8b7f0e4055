//! Owns the login policy: who may sign in to what, from where and when. A pure function over rules; the first one that
//! matches decides, in the order of their priorities, and where none does nobody is let in.

mod decision;
mod window;

use std::collections::BTreeSet;
use std::net::IpAddr;

use effect::{Code, Error, Result};
use ipnet::IpNet;
use journal::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use decision::{Explanation, Mismatch, Tried, moment};
pub use window::{Day, Window};

use crate::account::{Account, Kind, Role};
use crate::credentials::FirstFactor;
use crate::name::Name;

const MOST_RULES: usize = 1000;
/// The set that is asked before all others: whoever has the machine made it, by `mcrun mcias recover-admin`.
pub(crate) const RECOVERED_SET: &str = "recovered-admins";
const MOST_ITEMS: usize = 64;
const LONGEST_PATTERN: usize = 64;

/// One rule. It matches where all that it names does; what it leaves out matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called.
    pub name: Name,
    /// Rules with lower numbers are asked first; of two with the same number, one that refuses.
    #[serde(default = "default_priority")]
    pub priority: u16,
    /// Whether it lets in or refuses.
    pub allow: bool,
    /// The account has one of these roles.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<Role>,
    /// The account is called so; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// Who the account is for.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The account belongs to one of these groups.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<Name>,
    /// The service is called so; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The service has one of these tags, which mcrun.toml gives it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub service_tags: BTreeSet<Name>,
    /// The address lies in one of these networks, such as `10.0.0.0/8`; one that is not known lies in none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The time lies in one of these windows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<Window>,
    /// What is shown first is one of these. A rule that lets in and leaves it out lets in by `password` alone; one that
    /// refuses refuses whatever is shown.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub first_factors: BTreeSet<FirstFactor>,
    /// Whether only those are let in who have a second factor and give it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub second_factor: bool,
}

fn default_priority() -> u16 {
    100
}

/// A set of rules under a name: what one owner describes, beside the sets of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleSet {
    /// What it is called.
    pub name: Name,
    /// Its rules.
    pub rules: Vec<Rule>,
}

impl Rule {
    /// Whether it is about what is shown first. Whoever wrote it without a thought of that meant passwords.
    fn takes(&self, first: Option<FirstFactor>) -> bool {
        match first {
            Some(first) if self.first_factors.is_empty() => !self.allow || first == FirstFactor::Password,
            Some(first) => self.first_factors.contains(&first),
            None => self.first_factors.is_empty(),
        }
    }
}

impl RuleSet {
    /// Refuses rules that make no sense.
    ///
    /// # Errors
    /// `MC-W010` with the rule and what is wrong about it.
    pub fn check(&self) -> Result<()> {
        Policy::new(std::slice::from_ref(self)).map(|_| ())
    }
}

/// Somebody who wants to sign in to something.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The account.
    pub account: &'a Account,
    /// The service.
    pub service: &'a Name,
    /// What the service is tagged with.
    pub service_tags: &'a BTreeSet<Name>,
    /// From where, as far as that is known.
    pub address: Option<IpAddr>,
    /// When.
    pub at: Timestamp,
    /// What is shown first; nothing where a token is made without a sign-in.
    pub first: Option<FirstFactor>,
}

/// What the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether it lets in.
    pub is_allowed: bool,
    /// Whether only with a second factor.
    pub needs_second_factor: bool,
    /// The rule that decided; none where none matched.
    pub rule: Option<&'a Name>,
}

/// Every rule of every set, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    set: Name,
    rule: Rule,
    addresses: Vec<IpNet>,
    times: Vec<window::Compiled>,
}

impl Policy {
    /// The policy of these sets.
    ///
    /// # Errors
    /// `MC-W010` with the rule and what is wrong about it.
    pub fn new(sets: &[RuleSet]) -> Result<Self> {
        let mut rules = Vec::new();
        for set in sets {
            if set.rules.len() > MOST_RULES {
                let message =
                    format!("`{}` has {} rules, and {MOST_RULES} are the most", set.name, set.rules.len());
                return Err(Error::new(Code::LoginPolicy, message));
            }
            let mut names = BTreeSet::new();
            for rule in &set.rules {
                if !names.insert(&rule.name) {
                    let message = format!("`{}` has two rules `{}`", set.name, rule.name);
                    return Err(Error::new(Code::LoginPolicy, message)
                        .hint("the name is what an explanation and the audit tell them apart by"));
                }
                rules.push(Compiled::new(&set.name, rule)?);
            }
        }
        rules.sort_by(|one, other| one.order().cmp(&other.order()));
        Ok(Self { rules })
    }

    /// Decides.
    #[must_use]
    pub fn decide(&self, attempt: &Attempt<'_>) -> Decision<'_> {
        let deciding = self.rules.iter().find(|compiled| compiled.mismatch(attempt).is_none());
        match deciding {
            Some(compiled) => Decision {
                is_allowed: compiled.rule.allow,
                needs_second_factor: compiled.rule.allow && compiled.rule.second_factor,
                rule: Some(&compiled.rule.name),
            },
            None => Decision { is_allowed: false, needs_second_factor: false, rule: None },
        }
    }

    /// Whether somebody is let in from everywhere and at any time, without a second factor. `attempt` has no address.
    #[must_use]
    pub(crate) fn always_lets_in(&self, attempt: &Attempt<'_>) -> bool {
        for compiled in &self.rules {
            let rule = &compiled.rule;
            match compiled.mismatch(attempt) {
                None if rule.allow && rule.times.is_empty() => return !rule.second_factor,
                // From there, or then, it decides otherwise.
                None | Some(Mismatch::Address | Mismatch::Time) if !rule.allow || rule.second_factor => {
                    return false;
                }
                _ => {}
            }
        }
        false
    }

    /// Decides, and says why.
    #[must_use]
    pub fn explain(&self, attempt: &Attempt<'_>) -> Explanation {
        decision::explain(&self.rules, attempt)
    }
}

impl Compiled {
    fn new(set: &Name, rule: &Rule) -> Result<Self> {
        let wrong = |why: String| {
            Error::new(
                Code::LoginPolicy,
                format!("the rule `{}` of `{set}` makes no sense: {why}", rule.name),
            )
        };
        let lengths = [
            rule.accounts.len(),
            rule.services.len(),
            rule.addresses.len(),
            rule.times.len(),
            rule.groups.len(),
            rule.service_tags.len(),
        ];
        if let Some(length) = lengths.into_iter().find(|length| *length > MOST_ITEMS) {
            return Err(wrong(format!("a field has {length} items, and {MOST_ITEMS} are the most")));
        }
        for pattern in rule.accounts.iter().chain(&rule.services) {
            let fits =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | '*');
            if pattern.is_empty() || pattern.len() > LONGEST_PATTERN || !pattern.chars().all(fits) {
                let shown = crate::name::shown(pattern);
                return Err(wrong(format!("no name is like `{shown}`: names have small letters")));
            }
        }
        let address = |text: &String| {
            let shown = crate::name::shown(text);
            let network: IpNet = text
                .parse()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| wrong(format!("`{shown}` is no network")))?;
            match network == network.trunc() {
                true => Ok(network),
                false => Err(wrong(format!("`{shown}` has bits beyond its mask"))),
            }
        };
        Ok(Self {
            set: set.clone(),
            addresses: rule.addresses.iter().map(address).collect::<Result<_>>()?,
            times: rule.times.iter().map(|window| window.compile().map_err(wrong)).collect::<Result<_>>()?,
            rule: rule.clone(),
        })
    }

    /// By priority; a refusal comes before a grant, and beyond that the order is only always the same.
    fn order(&self) -> (bool, u16, bool, &Name, &Name) {
        let is_usual = self.set.as_str() != RECOVERED_SET;
        (is_usual, self.rule.priority, self.rule.allow, &self.set, &self.rule.name)
    }

    /// The first thing about which the rule and the attempt differ, the cheap ones first.
    fn mismatch(&self, attempt: &Attempt<'_>) -> Option<Mismatch> {
        let (rule, account) = (&self.rule, attempt.account);
        let named = |patterns: &[String], name: &Name| {
            patterns.is_empty() || patterns.iter().any(|pattern| is_like(pattern, name.as_str()))
        };
        let address = attempt.address.map(|address| address.to_canonical());
        let is_inside =
            || address.is_some_and(|address| self.addresses.iter().any(|network| network.contains(&address)));
        let checks: [(Mismatch, &dyn Fn() -> bool); 9] = [
            (Mismatch::Type, &|| rule.kind.is_none_or(|kind| kind == account.kind)),
            (Mismatch::Role, &|| rule.roles.is_empty() || !rule.roles.is_disjoint(&account.roles)),
            (Mismatch::Service, &|| named(&rule.services, attempt.service)),
            (Mismatch::Account, &|| named(&rule.accounts, &account.name)),
            (Mismatch::Group, &|| rule.groups.is_empty() || !rule.groups.is_disjoint(&account.groups)),
            (Mismatch::ServiceTag, &|| {
                rule.service_tags.is_empty() || !rule.service_tags.is_disjoint(attempt.service_tags)
            }),
            (Mismatch::FirstFactor, &|| rule.takes(attempt.first)),
            (Mismatch::Address, &|| self.addresses.is_empty() || is_inside()),
            (Mismatch::Time, &|| {
                self.times.is_empty() || self.times.iter().any(|window| window.contains(attempt.at))
            }),
        ];
        checks.into_iter().find(|(_, matches)| !matches()).map(|(mismatch, _)| mismatch)
    }
}

/// Whether `name` is like `pattern`, in which `*` stands for any characters. Linear in their lengths, whatever they are.
#[must_use]
pub(crate) fn is_like(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return name.ends_with(piece);
        }
        match name.find(piece) {
            Some(at) => name = &name[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
