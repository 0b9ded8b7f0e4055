//! Owns what a run of a playbook is granted: a playbook only narrows what its operator grants, and never grants itself.

use effect::Result;
use effect::policy::{Grants, narrowed};

/// What a run is granted whose playbook takes `own`, when `asked` is what somebody granted by hand and `bound` the
/// operator's policy, which holds beside this for every effect.
///
/// # Errors
/// `MC-P002` for a malformed or unknown capability.
pub fn grants(own: Option<&[String]>, asked: Grants, bound: Option<&[String]>) -> Result<Grants> {
    let Some(own) = own else { return Ok(asked.or_bound(bound)) };
    let allow = match (asked.allow.is_empty(), bound) {
        (false, _) => narrowed(&asked.allow, own)?,
        (true, Some(_)) => own.to_vec(),
        (true, None) => Vec::new(),
    };
    Ok(Grants { allow, deny: asked.deny })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(own: Option<&[&str]>, asked: &[&str], bound: Option<&[&str]>) -> Vec<String> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let asked = Grants { allow: texts(asked), deny: Vec::new() };
        grants(own.map(texts).as_deref(), asked, bound.map(texts).as_deref()).unwrap().allow
    }

    #[test]
    fn a_playbook_only_narrows_what_is_granted() {
        let own = Some(&["containers:write:web-*", "dns"][..]);
        assert_eq!(granted(None, &[], Some(&["containers"])), ["containers"]);
        assert_eq!(granted(own, &[], Some(&["containers"])), ["containers:write:web-*", "dns"]);
        assert_eq!(granted(own, &["*"], None), ["containers:write:web-*", "dns"]);
        assert_eq!(granted(own, &["containers:write:web-1"], None), ["containers:write:web-1"]);
        assert_eq!(granted(own, &["containers:read"], None), Vec::<String>::new());
        assert_eq!(granted(own, &["containers:write:db", "dns:read"], None), ["dns:read"]);
        assert_eq!(granted(Some(&[]), &["*"], Some(&["*"])), Vec::<String>::new());
    }

    #[test]
    fn without_an_operators_word_nothing_is_granted() {
        assert_eq!(granted(Some(&["*"]), &[], None), Vec::<String>::new());
        assert_eq!(granted(None, &[], None), Vec::<String>::new());
    }
}
