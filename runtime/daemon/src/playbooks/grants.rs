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
    Ok(Grants { allow, ..asked })
}

/// What of `own`, which a playbook takes, the operator's policy `bound` does not grant, or only in part. A run of it is
/// refused that, and a list shows nothing of it without a word.
#[must_use]
pub fn lacking(own: Option<&[String]>, bound: Option<&[String]>) -> Vec<String> {
    let is_granted = |capability: &&String| {
        let both = narrowed(std::slice::from_ref(*capability), bound.unwrap_or_default());
        both.is_ok_and(|both| both.contains(capability))
    };
    own.unwrap_or_default().iter().filter(|capability| !is_granted(capability)).cloned().collect()
}

/// Says so.
#[must_use]
pub fn lacking_note(playbook: &str, lacking: &[String]) -> String {
    let lacking = lacking.iter().map(|capability| format!("`{capability}`")).collect::<Vec<_>>().join(", ");
    format!(
        "`{playbook}` takes {lacking}, which the operator's policy does not grant, or only in part: \
         add it to `scripts` under [policy] in mcrun.toml, or take less in the playbook's `allow`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(own: Option<&[&str]>, asked: &[&str], bound: Option<&[&str]>) -> Vec<String> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let asked = Grants { allow: texts(asked), ..Grants::default() };
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

    #[test]
    fn what_the_policy_does_not_grant_is_named() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let lacks =
            |own: &[&str], bound: Option<&[&str]>| lacking(Some(&texts(own)), bound.map(texts).as_deref());
        let own = &["images", "containers:read", "registry:read"];
        assert_eq!(lacks(own, None), own);
        assert_eq!(lacks(own, Some(&["images", "containers"])), ["registry:read"]);
        assert_eq!(lacks(own, Some(&["images:write:x/**", "containers", "registry"])), ["images"]);
        assert!(lacks(own, Some(&["*"])).is_empty());
        assert!(lacks(own, Some(own)).is_empty());
        // What takes all that is granted lacks nothing of it.
        assert!(lacking(None, None).is_empty());
        assert!(lacking_note("prune", &texts(&["images"])).starts_with("`prune` takes `images`, which"));
    }
}
