use super::*;

fn policy(bound: Option<&[&str]>, allow: &[&str], deny: &[&str]) -> Policy {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let bound = bound.map(own);
    let grants =
        Grants { allow: own(allow), deny: own(deny), ..Grants::default() }.or_bound(bound.as_deref());
    Policy::new(bound.as_deref(), &grants).unwrap()
}

#[test]
fn nothing_is_granted_by_default() {
    assert!(!policy(None, &[], &[]).allows(&Need::read("files", "/etc/hosts")));
}

#[test]
fn write_includes_read_but_not_the_other_way_round() {
    let reader = policy(None, &["containers:read:mcq*"], &[]);
    assert!(reader.allows(&Need::read("containers", "mcq-api")));
    assert!(!reader.allows(&Need::write("containers", "mcq-api")));
    let writer = policy(None, &["containers:write:mcq*"], &[]);
    assert!(writer.allows(&Need::read("containers", "mcq-api")));
    assert!(!writer.allows(&Need::write("containers", "mcr")));
}

#[test]
fn what_is_granted_meanwhile_stays_within_bound_and_denials() {
    let policy = policy(Some(&["files"]), &["files:read:/a"], &["files:write:/secret/**"]);
    let write = Need::write("files", "/b");
    assert_eq!(policy.missing(&[write.clone(), write.clone()]), ["files:write:/b"]);
    assert!(policy.may_be_granted(std::slice::from_ref(&write)));
    policy.clone().grant(&["files:write:/b".into(), "exec".into()]).unwrap();
    assert!(policy.allows(&write));
    assert_eq!(policy.recorded().allow, ["files:read:/a", "files:write:/b", "exec"]);
    assert_eq!(policy.recorded().deny, ["files:write:/secret/**"]);
    for need in [Need::write("exec", "/bin/sh"), Need::write("files", "/secret/a")] {
        assert!(!policy.may_be_granted(std::slice::from_ref(&need)) && !policy.allows(&need), "{need}");
    }
}

#[test]
fn a_dangerous_feature_needs_its_own_word() {
    let need = Need::extra("containers", "privileged", "mcq");
    assert!(!policy(None, &["containers"], &[]).allows(&need));
    assert!(policy(None, &["containers:privileged"], &[]).allows(&need));
    assert!(policy(None, &["containers:privileged:mcq"], &[]).allows(&need));
    assert!(!policy(None, &["containers:privileged:mcr"], &[]).allows(&need));
    assert!(policy(None, &["*"], &[]).allows(&need));
}

#[test]
fn a_mounted_folder_needs_everything_beneath() {
    let mount = Need::write("files", "/srv/mcq").and_beneath();
    assert!(policy(None, &["files:write:/srv/mcq/**"], &[]).allows(&mount));
    assert!(policy(None, &["files:write:/srv/**"], &[]).allows(&mount));
    assert!(!policy(None, &["files:write:/srv/mcq"], &[]).allows(&mount));
    assert!(!policy(None, &["files:write:/srv/mcq/*"], &[]).allows(&mount));
    for denial in ["/srv/mcq/keys/**", "/srv/*/keys/**", "/srv/**/*.key", "/**"] {
        let denial = format!("files:read:{denial}");
        assert!(!policy(None, &["files:write:/srv/**"], &[&denial]).allows(&mount), "{denial}");
    }
    assert!(policy(None, &["files:write:/srv/**"], &["files:read:/etc/**"]).allows(&mount));
}

#[test]
fn no_grant_opens_a_folder_that_is_sealed_off() {
    let policy = policy(None, &["*"], &[]).sealing_off(&["/var/lib/mc[1]"]).unwrap();
    assert!(!policy.allows(&Need::read("files", "/var/lib/mc[1]/seal.key")));
    assert!(!policy.allows(&Need::write("files", "/var/lib/mc[1]")));
    assert!(!policy.allows(&Need::read("files", "/var/lib").and_beneath()));
    assert!(!policy.allows(&Need::read("files", "/").and_beneath()));
    assert!(policy.allows(&Need::read("files", "/var/lib/other")));
    assert!(policy.allows(&Need::write("containers", "x")));
}

#[test]
fn a_star_does_not_cross_folders() {
    let policy = policy(None, &["files:read:/srv/*"], &[]);
    assert!(policy.allows(&Need::read("files", "/srv/a")));
    assert!(!policy.allows(&Need::read("files", "/srv/a/b")));
}

#[test]
fn the_command_line_only_narrows_the_operators_policy() {
    let need = Need::write("containers", "mcq");
    assert!(policy(Some(&["containers"]), &[], &[]).allows(&need));
    assert!(!policy(Some(&["files"]), &["containers"], &[]).allows(&need));
    assert!(!policy(Some(&["containers"]), &["containers:write:mcr"], &[]).allows(&need));
    assert!(!policy(Some(&["containers"]), &[], &["containers:write:mcq"]).allows(&need));
}

#[test]
fn a_refusal_prints_what_allow_takes() {
    let needs = [Need::write("files", "/srv/a b").and_beneath(), Need::write("containers", "x")];
    let error = policy(None, &[], &[]).check("containers.ensure", &needs).unwrap_err();
    assert_eq!(error.missing, ["files:write:/srv/a b/**", "containers:write:x"]);
    let hint = error.hint.unwrap();
    assert!(hint.contains("--allow 'files:write:/srv/a b/**' --allow containers:write:x;"), "{hint}");
    let granted = Grants { allow: error.missing, ..Grants::default() };
    assert!(Policy::new(None, &granted).unwrap().check("containers.ensure", &needs).is_ok());
}

#[test]
fn unknown_words_are_errors_with_a_suggestion() {
    let error = "container:write:x".parse::<Capability>().unwrap_err();
    assert!(error.message.contains("did you mean `containers`"), "{error}");
    let error = "containers:wirte:x".parse::<Capability>().unwrap_err();
    assert!(error.message.contains("did you mean `write`"), "{error}");
    assert!("files:read:".parse::<Capability>().is_err());
    assert!("files:read:/a/[".parse::<Capability>().is_err());
}

#[test]
fn whoever_started_a_run_bounds_it_whatever_is_granted() {
    let within = |lists: &[&[&str]]| {
        let within = lists.iter().map(|list| list.iter().map(|text| (*text).to_owned()).collect());
        Grants { allow: vec!["*".to_owned()], within: within.collect(), ..Grants::default() }
    };
    let grants = within(&[&["containers:write:web-*", "images"], &["containers", "files"]]);
    // It is recorded, and read again by a resume.
    let recorded: Grants = serde_json::from_value(serde_json::json!(grants)).unwrap();
    let policy = Policy::new(None, &recorded).unwrap();
    assert!(policy.allows(&Need::write("containers", "web-1")));
    for beyond in [Need::write("containers", "db"), Need::read("images", "x"), Need::read("files", "/x")] {
        assert!(!policy.allows(&beyond), "{beyond}");
    }
    policy.grant(&["containers:write:db".to_owned()]).unwrap();
    let error = policy.check("containers.ensure", &[Need::write("containers", "db")]).unwrap_err();
    assert!(error.hint.unwrap().contains("whoever started the run"));
    assert_eq!(policy.recorded().within, grants.within);
    assert!(Policy::new(None, &within(&[&["container"]])).is_err());
}
