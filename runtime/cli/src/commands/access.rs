//! Owns `can-i`, which asks the policy of access, and `policy test`, which compares it with a table of expectations.

use std::path::Path;
use std::sync::Arc;

use effect::access::{ACTIONS, Policy, Request};
use effect::policy::nearest;
use effect::{Code, Error, Principal, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::arguments::Global;
use crate::arguments::access::CanI;
use crate::config::{Config, read_text, wrong_in};
use crate::exit::Exit;
use crate::{audit, render};

/// The one action that `four_eyes` is about.
const DECIDES: &str = "approvals.decide";

fn policy(global: &Global) -> Result<Arc<Policy>> {
    Ok(Config::load(global.config.as_deref())?.access())
}

pub(super) fn can_i(global: &Global, wish: CanI) -> Result<Exit> {
    let CanI { action, object, principal, role, group, param, own, json: as_json } = wish;
    check_action(&action)?;
    let policy = policy(global)?;
    let principal = principal.unwrap_or_else(audit::user).with(&role, &group);
    let params = parameters(&param)?;
    let request = Request { action: &action, object: &object, params: Some(&params), is_own: own };
    let decision = policy.decide(&principal, &request);
    let word = if decision.is_allowed { "allowed" } else { "denied" };
    if as_json {
        let rules = policy.explain(&principal, &request);
        let rules: Vec<Value> = rules
            .into_iter()
            .map(|one| json!({ "rule": one.rule, "decides": one.decides, "why": one.why }))
            .collect();
        render::json(&json!({
            "principal": principal.to_string(),
            "action": action,
            "object": object,
            "allowed": decision.is_allowed,
            "rule": decision.rule,
            "capabilities": decision.within,
            "four_eyes": wants_four_eyes(&policy, &action, &object),
            "rules": rules,
        }));
    } else {
        render::out(format_args!("{word}: {}", decision.rule));
        if let Some(within) = &decision.within {
            render::out(format_args!("runs of it may do at most: {}", within.join(", ")));
        }
        if decision.is_allowed && wants_four_eyes(&policy, &action, &object) {
            render::out("whoever started the run may reject, and not approve: [access] `four_eyes`");
        }
        if !decision.is_allowed {
            let rules = policy.explain(&principal, &request).into_iter();
            for one in rules.filter(|one| !one.decides && one.why != "is for others") {
                render::note(format_args!("{}: {}", one.rule, one.why));
            }
        }
    }
    Ok(if decision.is_allowed { Exit::Done } else { Exit::Denied })
}

/// Whether it is about a decision that the starter of the run cannot make alone.
fn wants_four_eyes(policy: &Policy, action: &str, object: &str) -> bool {
    action == DECIDES && policy.wants_four_eyes(object)
}

fn check_action(given: &str) -> Result<()> {
    if ACTIONS.iter().any(|(action, _)| *action == given) {
        return Ok(());
    }
    let known = ACTIONS.iter().map(|(action, _)| *action);
    let error = Error::new(Code::Usage, format!("no action is `{given}`"));
    Err(match nearest(given, known.clone()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("one of {}", known.collect::<Vec<_>>().join(", "))),
    })
}

fn parameters(given: &[String]) -> Result<Map<String, Value>> {
    let parameter = |text: &String| {
        let wrong = || Error::new(Code::Usage, format!("`--param {text}` is not NAME=VALUE"));
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Ok((name.to_owned(), value))
    };
    given.iter().map(parameter).collect()
}

/// A table of expectations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectations {
    expect: Vec<Expectation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    principal: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    action: String,
    #[serde(default)]
    object: String,
    #[serde(default)]
    params: Map<String, Value>,
    #[serde(default)]
    own: bool,
    expected: Expected,
    rule: Option<String>,
    /// Whether it takes somebody else than whoever started the run; not looked at unless given.
    four_eyes: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

/// An expectation that does not hold.
struct Failing {
    asked: String,
    expected: String,
    found: String,
    rule: String,
}

pub(super) fn test(global: &Global, file: &Path, as_json: bool) -> Result<Exit> {
    let policy = policy(global)?;
    let text = read_text(file)?;
    let wanted: Expectations = toml::from_str(&text).map_err(|error| wrong_in(file, &text, &error))?;
    let mut failing = Vec::new();
    for (number, one) in wanted.expect.iter().enumerate() {
        let place = |error: &dyn std::fmt::Display| {
            Error::new(Code::Config, format!("{}: expectation {}: {error}", file.display(), number + 1))
        };
        let principal: Principal = one.principal.parse().map_err(|error: String| place(&error))?;
        check_action(&one.action).map_err(|error| place(&error.message))?;
        if one.four_eyes.is_some() && one.action != DECIDES {
            return Err(place(&format_args!("`four_eyes` is about `{DECIDES}` alone")));
        }
        failing.extend(one.compare(&policy, &principal.with(&one.roles, &one.groups)));
    }
    let (count, failed) = (wanted.expect.len(), failing.len());
    if as_json {
        let rows: Vec<Value> = failing
            .iter()
            .map(|one| json!({ "asked": one.asked, "expected": one.expected, "found": one.found, "rule": one.rule }))
            .collect();
        render::json(&json!({ "expectations": count, "failing": rows }));
        return Ok(if failed == 0 { Exit::Done } else { Exit::Failed });
    }
    if failed == 0 {
        render::out(format_args!("{} of the policy hold", render::count(count as u64, "expectation")));
        return Ok(Exit::Done);
    }
    let mut table = render::Table::new(&["asked", "expected", "found", "rule"]);
    failing.into_iter().for_each(|one| table.row([one.asked, one.expected, one.found, one.rule]));
    table.print();
    Err(Error::new(Code::Expectation, format!("{failed} of {count} expectations of the policy do not hold"))
        .hint("`mcrun can-i ACTION OBJECT --as PRINCIPAL --json` tells of every rule why it does not decide"))
}

impl Expectation {
    fn compare(&self, policy: &Policy, principal: &Principal) -> Option<Failing> {
        let request = Request {
            action: &self.action,
            object: &self.object,
            params: Some(&self.params),
            is_own: self.own,
        };
        let decision = policy.decide(principal, &request);
        let found = if decision.is_allowed { Expected::Allow } else { Expected::Deny };
        let is_by_rule = self.rule.as_ref().is_none_or(|rule| *rule == decision.rule);
        let by = self.rule.as_ref().filter(|_| !is_by_rule).map(|rule| format!(" by {rule}"));
        let has_four = wants_four_eyes(policy, &self.action, &self.object);
        let is_by_four = self.four_eyes.is_none_or(|wanted| wanted == has_four);
        let eyes = |four: bool| match (is_by_four, four) {
            (true, _) => "",
            (false, true) => ", four eyes",
            (false, false) => ", two eyes",
        };
        (found != self.expected || !is_by_rule || !is_by_four).then(|| Failing {
            asked: format!("{principal} {} {}", self.action, self.object).trim_end().to_owned(),
            expected: format!("{}{}{}", self.expected.word(), by.unwrap_or_default(), eyes(!has_four)),
            found: format!("{}{}", found.word(), eyes(has_four)),
            rule: decision.rule,
        })
    }
}

impl Expected {
    fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}
