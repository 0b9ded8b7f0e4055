//! Owns the explanation of a decision: which rule decided, and why each one before it did not.

use effect::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Attempt, Compiled, Rule};

/// What a rule and an attempt differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mismatch {
    /// The type of the account.
    Type,
    /// Its roles.
    Role,
    /// The name of the service.
    Service,
    /// The name of the account.
    Account,
    /// Its groups.
    Group,
    /// The tags of the service.
    ServiceTag,
    /// What is shown first.
    FirstFactor,
    /// The address.
    Address,
    /// The time.
    Time,
}

/// A rule that was asked and did not decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    /// The set that it is of.
    pub set: String,
    /// The rule.
    pub rule: String,
    /// Its priority.
    pub priority: u16,
    /// What it first differed in.
    pub differs: Mismatch,
    /// The same in words.
    pub why: String,
}

/// Which rule decided, and why each earlier one did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Whether the attempt would be let in.
    pub allowed: bool,
    /// The set of the rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// The rule that decided; none where none matched, and nobody is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Whether it lets in only with a second factor.
    pub second_factor: bool,
    /// All of it in one sentence.
    pub because: String,
    /// The rules that were asked before, in order.
    pub tried: Vec<Tried>,
}

impl Explanation {
    /// An account that cannot sign in whatever the rules say.
    #[must_use]
    pub fn refused(because: String) -> Self {
        Self { allowed: false, set: None, rule: None, second_factor: false, because, tried: Vec::new() }
    }
}

pub(super) fn explain(rules: &[Compiled], attempt: &Attempt<'_>) -> Explanation {
    let mut tried = Vec::new();
    for compiled in rules {
        let rule = &compiled.rule;
        let Some(differs) = compiled.mismatch(attempt) else {
            let verb = if rule.allow { "lets" } else { "does not let" };
            let with = if rule.allow && rule.second_factor { " with a second factor" } else { "" };
            return Explanation {
                allowed: rule.allow,
                set: Some(compiled.set.to_string()),
                rule: Some(rule.name.to_string()),
                second_factor: rule.allow && rule.second_factor,
                because: format!(
                    "the rule `{}` of `{}` {verb} `{}` in to `{}`{with}",
                    rule.name, compiled.set, attempt.account.name, attempt.service
                ),
                tried,
            };
        };
        tried.push(Tried {
            set: compiled.set.to_string(),
            rule: rule.name.to_string(),
            priority: rule.priority,
            differs,
            why: words(compiled, differs, attempt),
        });
    }
    let because = match tried.len() {
        0 => "there is no rule, and without one nobody is let in".to_owned(),
        count => format!("none of {count} rules matches, and then nobody is let in"),
    };
    Explanation { tried, ..Explanation::refused(because) }
}

fn first_factors(rule: &Rule) -> String {
    let named: Vec<&str> = rule.first_factors.iter().map(|first| first.as_str()).collect();
    match named.is_empty() {
        true => "it names no first factors, so it lets in by password alone".into(),
        false => format!("it is for the first factors {}", named.join(", ")),
    }
}

fn words(compiled: &Compiled, differs: Mismatch, attempt: &Attempt<'_>) -> String {
    let (rule, account) = (&compiled.rule, attempt.account);
    let list = |items: Vec<&str>| items.join(", ");
    match differs {
        Mismatch::Type => format!("it is not for {} accounts", account.kind.as_str()),
        Mismatch::FirstFactor => first_factors(rule),
        Mismatch::Role => {
            format!("it is for roles {}", list(rule.roles.iter().map(|role| role.as_str()).collect()))
        }
        Mismatch::Service => format!("it is for services {}", rule.services.join(", ")),
        Mismatch::Account => format!("it is for accounts {}", rule.accounts.join(", ")),
        Mismatch::Group => {
            format!("it is for groups {}", list(rule.groups.iter().map(|name| name.as_str()).collect()))
        }
        Mismatch::ServiceTag => format!(
            "it is for services tagged {}",
            list(rule.service_tags.iter().map(|name| name.as_str()).collect())
        ),
        Mismatch::Address => match attempt.address {
            Some(address) => format!("{address} is not in {}", rule.addresses.join(", ")),
            None => {
                format!("it is for addresses in {}, and the address is not known", rule.addresses.join(", "))
            }
        },
        Mismatch::Time => {
            let windows: Vec<String> = rule.times.iter().map(ToString::to_string).collect();
            format!("it is for {}", windows.join(", "))
        }
    }
}

/// A moment as somebody writes it for a test: RFC 3339.
///
/// # Errors
/// `MC-A001` where it is none.
pub fn moment(text: &str) -> Result<journal::Timestamp> {
    text.parse::<jiff::Timestamp>().map(|at| journal::Timestamp(at.as_millisecond())).map_err(|error| {
        effect::Error::new(effect::Code::Argument, "`at`: this is no moment such as 2026-02-03T04:05:06Z")
            .because(error)
    })
}
