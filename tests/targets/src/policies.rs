//! What somebody can write as rules: of who signs in, and of who may do what.

use std::collections::BTreeSet;

use effect::access::{self, Request};
use effect::{Code, Principal};
use mcias::policy::{Attempt, Policy, RuleSet};
use mcias::{Account, FirstFactor, Kind};

/// Rules in JSON, as a script gives them.
pub fn policy(bytes: &[u8]) {
    let Ok(set) = serde_json::from_slice::<RuleSet>(bytes) else { return };
    let Ok(policy) = Policy::new(&[set]) else { return };
    let account = Account::new("alice".parse().unwrap(), Kind::Human, 0).unwrap();
    let (service, tags) = ("mcq".parse().unwrap(), BTreeSet::new());
    for (at, address) in
        [(0, None), (i64::MAX, Some([192, 0, 2, 1].into())), (i64::MIN, Some([0; 16].into()))]
    {
        let attempt = Attempt {
            account: &account,
            service: &service,
            service_tags: &tags,
            address,
            at: journal::Timestamp(at),
            first: Some(FirstFactor::Password),
        };
        let (decided, explained) = (policy.decide(&attempt), policy.explain(&attempt));
        assert_eq!(decided.is_allowed, explained.allowed, "an explanation says something else");
        assert_eq!(decided.rule.map(|rule| rule.as_str()), explained.rule.as_deref());
        assert!(!decided.is_allowed || decided.rule.is_some(), "somebody is let in without a rule");
    }
}

/// Rules of who may make which calls in TOML, as in a file of their own.
///
/// # Panics
/// When what decides and what explains are not one, or somebody may something that no rule says.
pub fn access(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(file) = toml::from_str::<access::File>(text) else { return };
    let policy = access::Policy::new(&file.rules, Vec::new());
    let policy = match policy.and_then(|policy| policy.with_four_eyes(&file.four_eyes)) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(error.code != Code::Internal, "{error}");
            return;
        }
    };
    let objects = ["", "web", "deploy/01", "script:a.lua/01", "\u{10ffff}\n[*"];
    let params = serde_json::json!({ "stage": "staging", "size": 3, "tag": "v1.4" });
    let guest = "account:bob".parse::<Principal>().unwrap().with(&["guest".to_owned()], &[]);
    for name in ["user:ada", "certificate:a.example", "account:ada", "system:web"] {
        let plain: Principal = name.parse().unwrap();
        let member = plain.clone().with(&["user".to_owned()], &["ops".to_owned()]);
        for (action, _) in access::ACTIONS {
            for object in objects {
                for is_own in [false, true] {
                    let request = Request { action, object, params: params.as_object(), is_own };
                    decide(&policy, &plain, &request);
                    decide(&policy, &member, &request);
                    let allowed = policy.decide(&guest, &request).is_allowed;
                    assert!(!allowed || access::reads(action), "a guest does more than look");
                }
            }
        }
    }
    let always = file.four_eyes == access::FourEyes::Always(true);
    assert!(objects.iter().all(|object| policy.wants_four_eyes(object) || !always));
}

fn decide(policy: &access::Policy, principal: &Principal, request: &Request<'_>) {
    let decision = policy.decide(principal, request);
    let decides = policy.explain(principal, request).into_iter().find(|one| one.decides);
    let is_allowed = decides.as_ref().is_some_and(|one| one.why == "allows it");
    assert_eq!(decision.is_allowed, is_allowed, "an explanation says something else");
    assert!(decides.is_none_or(|one| one.rule == decision.rule), "another rule is said to decide");
    assert!(!decision.is_allowed || policy.may_some(principal, request.action));
    assert!(decision.is_allowed || decision.within.is_none(), "what is denied starts no run");
}
