//! What somebody can write as rules: of who signs in, and of who may do what.

use std::collections::BTreeSet;

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
