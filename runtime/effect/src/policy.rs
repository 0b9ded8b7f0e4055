//! Owns the one policy function: which request is allowed. It is the security boundary; it sees the final typed
//! request and trusts nothing that a worker said.

mod capability;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

pub use self::capability::{Access, Capability, Need, primitives};
use crate::{Code, Error, Result};

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
