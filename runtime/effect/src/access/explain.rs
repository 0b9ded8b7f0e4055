//! Owns why a request is decided as it is: which rule decides, and why each other one does not.

use super::{Miss, Policy, Request, Verdict, beforehand};
use crate::Principal;

/// A rule, and what it has to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Its name.
    pub rule: String,
    /// Whether it decides.
    pub decides: bool,
    /// In a few words: what it says, or why it does not count.
    pub why: String,
}

impl Policy {
    /// Every rule in the order in which they count.
    #[must_use]
    pub fn explain(&self, principal: &Principal, request: &Request<'_>) -> Vec<Considered> {
        if let Some(decision) = beforehand(principal, request.action) {
            let why = if decision.is_allowed { "allows it" } else { "denies it" };
            return vec![Considered { rule: decision.rule, decides: true, why: why.to_owned() }];
        }
        let met = self.meet(principal, request);
        let mut is_decided = false;
        let rules = self.rules.iter().map(|compiled| {
            let miss = compiled.misses(principal, request, &met);
            let decides = miss.is_none() && !is_decided;
            is_decided |= decides;
            let why = match miss {
                _ if decides && compiled.rule.effect == Verdict::Allow => "allows it".to_owned(),
                _ if decides => "denies it".to_owned(),
                None => "another one counts before it".to_owned(),
                Some(Miss::Principal) => "is for others".to_owned(),
                Some(Miss::Action) => "is about other actions".to_owned(),
                Some(Miss::Object) => "is about other objects".to_owned(),
                Some(Miss::Own) => "is about what one started oneself, or is".to_owned(),
                Some(Miss::Foreign) => "lets the account of a service touch its own names alone".to_owned(),
                Some(Miss::Parameter(name)) => format!("asks for another `{name}`"),
            };
            Considered { rule: compiled.name.clone(), decides, why }
        });
        rules.collect()
    }
}
