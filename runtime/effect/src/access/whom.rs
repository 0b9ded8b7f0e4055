//! Owns who is meant by patterns of principals that a script names: whoever may decide something that it asks for.

use globset::GlobMatcher;

use super::patterns::matcher;
use super::rule::PRINCIPALS;
use crate::{Principal, Result};

/// Patterns of one list.
const MOST: usize = 50;
const LONGEST: usize = 256;
/// What the owner of the daemon is without anybody saying so.
const ADMIN: &str = "role:admin";

/// Those who are meant.
#[derive(Debug, Clone)]
pub struct Whom(Vec<(String, Option<GlobMatcher>)>);

impl Whom {
    /// Those whom one of the patterns means: `user:…`, `certificate:…`, `account:…`, `system:…`, `role:…`, `group:…`, or
    /// `*` for every person.
    ///
    /// # Errors
    /// What is wrong with them, as the end of a sentence.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        if patterns.is_empty() || patterns.len() > MOST {
            return Err(format!("has 1 to {MOST} principals"));
        }
        let one = |pattern: &String| {
            let is_form = pattern == "*"
                || PRINCIPALS.iter().any(|form| pattern.len() > form.len() && pattern.starts_with(form));
            if !is_form || pattern.len() > LONGEST || pattern.chars().any(char::is_control) {
                let shown: String = pattern.chars().filter(|letter| !letter.is_control()).take(40).collect();
                return Err(format!("names principals by {} or `*`, not `{shown}`", PRINCIPALS.join(", ")));
            }
            let matcher = matcher(pattern).map_err(|error| format!("has no pattern: {}", error.message))?;
            Ok((pattern.clone(), matcher))
        };
        Ok(Self(patterns.iter().map(one).collect::<Result<_, _>>()?))
    }

    /// Whether the principal is meant. Guests only look, and the daemon asks nobody but people; the account of a service is
    /// meant where it is named as such.
    #[must_use]
    pub fn means(&self, principal: &Principal) -> bool {
        if principal.is_guest() || matches!(principal, Principal::Daemon) {
            return false;
        }
        let own = if principal.is_owner() { Some(ADMIN.to_owned()) } else { None };
        let forms: Vec<String> = principal.forms().chain(own).collect();
        let is_service = matches!(principal, Principal::System { .. });
        self.0.iter().any(|(pattern, matcher)| {
            let is_named = !is_service || pattern.starts_with("system:");
            is_named && matcher.as_ref().is_none_or(|matcher| forms.iter().any(|form| matcher.is_match(form)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whom(patterns: &[&str]) -> Result<Whom, String> {
        Whom::new(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>())
    }

    fn who(form: &str, roles: &[&str], groups: &[&str]) -> Principal {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        form.parse::<Principal>().unwrap().with(&owned(roles), &owned(groups))
    }

    #[test]
    fn whoever_is_named_by_form_role_or_group_is_meant() {
        let ada = who("account:ada", &["user"], &["ops"]);
        for meant in ["account:ada", "account:*", "role:user", "group:o*", "*"] {
            assert!(whom(&[meant]).unwrap().means(&ada), "{meant}");
        }
        for other in ["account:bob", "role:admin", "group:dev", "user:ada", "certificate:ada", "system:ada"] {
            assert!(!whom(&[other]).unwrap().means(&ada), "{other}");
        }
        assert!(whom(&["role:admin", "group:ops"]).unwrap().means(&ada));
    }

    #[test]
    fn guests_and_the_daemon_are_never_meant_and_services_only_by_name() {
        let everybody = whom(&["*"]).unwrap();
        for nobody in [who("account:eve", &["guest"], &[]), Principal::Daemon, who("system:mcq", &[], &[])] {
            assert!(!everybody.means(&nobody), "{nobody}");
        }
        assert!(whom(&["system:mcq"]).unwrap().means(&who("system:mcq", &[], &[])));
        assert!(!whom(&["group:ops"]).unwrap().means(&who("system:mcq", &[], &["ops"])));
    }

    #[test]
    fn the_owner_is_an_admin_and_nobody_else() {
        let root = Principal::User { name: "root".into(), is_owner: true };
        assert!(whom(&["role:admin"]).unwrap().means(&root) && whom(&["user:root"]).unwrap().means(&root));
        assert!(!whom(&["account:ada"]).unwrap().means(&root) && !whom(&["group:ops"]).unwrap().means(&root));
        let bob = Principal::User { name: "bob".into(), is_owner: false };
        assert!(!whom(&["role:admin"]).unwrap().means(&bob));
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for wrong in [&[][..], &["ada"], &["role:"], &["account:[a"], &["user:\u{1b}[31m"], &[""]] {
            let why = whom(wrong).unwrap_err();
            assert!(!why.contains('\u{1b}'), "{why:?}");
        }
        assert!(whom(&vec!["user:a"; 51]).is_err() && whom(&[&"user:".repeat(99)]).is_err());
    }
}
