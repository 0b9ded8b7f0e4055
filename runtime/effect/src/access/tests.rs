use proptest::prelude::*;
use serde_json::json;

use super::*;

fn rules(list: Value) -> Vec<Rule> {
    serde_json::from_value(list).unwrap()
}

fn policy(list: Value) -> Policy {
    Policy::new(&rules(list), Vec::new()).unwrap()
}

fn who(text: &str) -> Principal {
    text.parse().unwrap()
}

fn account(role: &str) -> Principal {
    who("account:ada").with(&[role.to_owned()], &["ops".to_owned()])
}

fn allows(policy: &Policy, principal: &Principal, action: &str, object: &str) -> bool {
    policy.decide(principal, &Request::of(action, object)).is_allowed
}

#[test]
fn nothing_is_allowed_unless_something_says_so() {
    let empty = policy(json!([]));
    for (action, _) in ACTIONS {
        for principal in ["account:ada", "certificate:a.example", "system:mcq", "user:nobody"] {
            assert!(!allows(&empty, &who(principal), action, "x"), "{principal} {action}");
            assert!(!empty.knows(&who(principal)));
        }
        for owner in ["user:root", "daemon"] {
            assert!(allows(&empty, &who(owner), action, "x"));
        }
        assert!(allows(&empty, &account("admin"), action, "x"));
        assert_eq!(allows(&empty, &account("guest"), action, "x"), reads(action), "{action}");
        assert!(!allows(&empty, &account("user"), action, "x"), "{action}");
    }
}

#[test]
fn the_greater_priority_counts_and_of_equals_the_one_that_denies() {
    let policy = policy(json!([
        { "name": "start", "principals": ["role:user"], "actions": ["playbooks.start"], "effect": "allow" },
        { "name": "not db", "principals": ["*"], "actions": ["*"], "objects": ["db*"], "effect": "deny" },
        { "name": "but ops", "principals": ["group:ops"], "actions": ["playbooks.*"], "objects": ["db-backup"],
          "effect": "allow", "priority": 5 },
    ]));
    let decided = |object: &str| policy.decide(&account("user"), &Request::of("playbooks.start", object));
    assert_eq!((decided("web").is_allowed, decided("web").rule.as_str()), (true, "start"));
    assert_eq!((decided("db-drop").is_allowed, decided("db-drop").rule.as_str()), (false, "not db"));
    assert_eq!((decided("db-backup").is_allowed, decided("db-backup").rule.as_str()), (true, "but ops"));
    let explained = policy.explain(&account("user"), &Request::of("playbooks.start", "db-drop"));
    let told: Vec<_> = explained.iter().map(|one| (one.rule.as_str(), one.why.as_str())).collect();
    assert_eq!(
        told[..3],
        [
            ("but ops", "is about other objects"),
            ("not db", "denies it"),
            ("start", "another one counts before it")
        ]
    );
    assert_eq!(explained.iter().filter(|one| one.decides).count(), 1);
}

#[test]
fn a_guest_reads_whatever_rules_say() {
    let policy = policy(json!([{ "principals": ["*"], "actions": ["*"], "effect": "allow", "priority": 9 }]));
    assert!(!allows(&policy, &account("guest"), "runs.cancel", "x"));
    assert!(allows(&policy, &account("guest"), "runs.read", "x"));
    // Who is more than a guest is no guest.
    let both = account("guest").with(&["user".to_owned()], &[]);
    assert!(allows(&policy, &both, "runs.cancel", "x"));
}

#[test]
fn the_account_of_a_service_touches_its_own_names_unless_a_rule_says_more() {
    let policy = policy(json!([
        { "principals": ["system:*"], "actions": ["services.*", "events.emit", "daemon.reload"], "effect": "allow" },
        { "principals": ["system:mcp-agent"], "actions": ["services.*"], "effect": "allow", "foreign": true },
    ]));
    for own in ["mcq", "mcq-web", "mcq.ready", "mcq/x"] {
        assert!(allows(&policy, &who("system:mcq"), "services.operate", own), "{own}");
    }
    for foreign in ["mcr", "mcqx", "", "web-mcq"] {
        assert!(!allows(&policy, &who("system:mcq"), "services.operate", foreign), "{foreign}");
        assert!(allows(&policy, &who("system:mcp-agent"), "services.operate", foreign), "{foreign}");
    }
    assert!(!allows(&policy, &who("system:mcq"), "daemon.reload", ""));
}

#[test]
fn parameters_must_be_as_a_rule_says() {
    let policy = policy(json!([{
        "principals": ["role:user"], "actions": ["playbooks.start"], "effect": "allow",
        "params": { "env": "staging", "count": [1, 2], "tag": { "glob": "v1.*" } },
        "capabilities": ["containers:write:web-*"],
    }]));
    let decided = |params: Value| {
        let params = params.as_object().unwrap().clone();
        let request = Request { params: Some(&params), ..Request::of("playbooks.start", "deploy") };
        policy.decide(&account("user"), &request)
    };
    let good = decided(json!({ "env": "staging", "count": 2.0, "tag": "v1.4", "more": true }));
    assert_eq!(good.within, Some(vec!["containers:write:web-*".to_owned()]));
    assert!(good.is_allowed);
    for bad in [
        json!({ "env": "production", "count": 2, "tag": "v1.4" }),
        json!({ "env": "staging", "count": 3, "tag": "v1.4" }),
        json!({ "env": "staging", "count": 2, "tag": "v2.0" }),
        json!({ "env": "staging", "count": 2, "tag": 1 }),
        json!({ "env": "staging", "tag": "v1.4" }),
        json!({}),
    ] {
        assert!(!decided(bad.clone()).is_allowed, "{bad}");
    }
    assert!(!allows(&policy, &account("user"), "playbooks.start", "deploy"));
}

#[test]
fn what_one_started_oneself_can_be_looked_at() {
    let policy = policy(json!([]));
    let own = Request { is_own: true, ..Request::of("runs.read", "deploy/01") };
    assert!(policy.decide(&account("user"), &own).is_allowed);
    let cancel = Request { action: "runs.cancel", ..own };
    assert!(!policy.decide(&account("user"), &cancel).is_allowed);
    assert!(policy.may_some(&account("user"), "runs.read") && !policy.knows(&who("certificate:x")));
}

#[test]
fn an_account_looks_at_itself_and_ends_its_tokens() {
    let policy = policy(json!([]));
    for (action, _) in ACTIONS {
        let own = |name| Request { is_own: true, ..Request::of(action, name) };
        let is_own = ["accounts.read", "tokens.read", "tokens.revoke", "runs.read"].contains(action);
        assert_eq!(policy.decide(&account("user"), &own("ada")).is_allowed, is_own, "{action}");
        assert_eq!(policy.decide(&who("system:mcq"), &own("mcq")).is_allowed, is_own, "{action}");
        // What is no account has none.
        let is_run = *action == "runs.read";
        assert_eq!(policy.decide(&who("certificate:ada"), &own("ada")).is_allowed, is_run, "{action}");
    }
    assert!(!policy.knows(&account("user")), "that alone lets nobody in");
}

#[test]
fn a_rule_for_a_certificate_is_for_that_name_alone() {
    let named = |name: &str| vec![("named".to_owned(), Rule::for_certificate(name, "routes.*"))];
    let policy = Policy::new(&[], named("*.example")).unwrap();
    assert!(allows(&policy, &who("certificate:*.example"), "routes.write", "a:443/"));
    assert!(!allows(&policy, &who("certificate:a.example"), "routes.write", "a:443/"));
    assert!(!allows(&policy, &who("certificate:*.example"), "runs.read", "x"));
}

#[test]
fn a_rule_that_makes_no_sense_is_named() {
    let good = json!({ "principals": ["*"], "actions": ["*"], "effect": "allow" });
    let with = |key: &str, value: Value| {
        let mut rule = good.clone();
        rule[key] = value;
        let rules: Result<Vec<Rule>, _> = serde_json::from_value(json!([rule]));
        match rules {
            Ok(rules) => Policy::new(&rules, Vec::new()).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    };
    for (key, value, said) in [
        ("principals", json!(["ada"]), "begins with none of"),
        ("principals", json!([]), "`principals` has 1 to"),
        ("actions", json!(["runs.cancle"]), "did you mean `runs.cancel`"),
        ("actions", json!(["walks.*"]), "no action is `walks.*`"),
        ("objects", json!(["[a"]), "is no pattern"),
        ("effect", json!("maybe"), "unknown variant `maybe`"),
        ("capabilities", json!(["container"]), "did you mean `containers`"),
        ("params", json!({ "a": { "globe": "x" } }), "a parameter is a value"),
        ("prinicpals", json!([]), "unknown field `prinicpals`"),
    ] {
        let error = with(key, value);
        assert!(error.contains(said), "{key}: {error}");
    }
    let twice = json!([
        { "name": "a", "principals": ["*"], "actions": ["*"], "effect": "allow" },
        { "name": "a", "principals": ["*"], "actions": ["*"], "effect": "deny" },
    ]);
    assert!(Policy::new(&rules(twice), Vec::new()).unwrap_err().message.contains("two rules are called `a`"));
}

#[test]
fn four_eyes_are_wanted_where_either_place_says_so() {
    let policy = |of: &[Value]| {
        of.iter().try_fold(Policy::new(&[], Vec::new()).unwrap(), |policy, of| {
            policy.with_four_eyes(&serde_json::from_value(of.clone()).unwrap())
        })
    };
    let (deploys, strict) = (json!(["deploy/*"]), json!(["script:strict*"]));
    for both in [[deploys.clone(), strict.clone()], [strict.clone(), deploys.clone()]] {
        let policy = policy(&both).unwrap();
        for (object, wanted) in [("deploy/01", true), ("script:strict.lua/01", true), ("other/01", false)] {
            assert_eq!(policy.wants_four_eyes(object), wanted, "{object}");
        }
    }
    assert!(policy(&[json!(true), json!(false)]).unwrap().wants_four_eyes("other/01"));
    assert!(policy(&[json!(false), json!(true)]).unwrap().wants_four_eyes("other/01"));
    assert!(!policy(&[json!(false), json!([])]).unwrap().wants_four_eyes("other/01"));
    assert!(!policy(&[]).unwrap().wants_four_eyes("other/01"));
    // What the other place says hides no mistake.
    assert!(policy(&[json!(true), json!(["[a"])]).unwrap_err().message.contains("`four_eyes`"));
    assert!(policy(&[json!([""]), json!(true)]).unwrap_err().message.contains("1 to 512 octets"));
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(these: &[T]) -> impl Strategy<Value = T> + use<T> {
    proptest::sample::select(these.to_vec())
}

proptest! {
    /// What decides quickly and what explains are one.
    #[test]
    fn a_decision_is_the_one_that_is_explained(
        list in proptest::collection::vec(
            (one_of(&["*", "role:user", "group:ops", "account:ada", "account:a*", "system:*"]),
             one_of(&["*", "runs.*", "*.read", "playbooks.start"]),
             one_of(&["*", "web", "web-*", "db"]),
             one_of(&["allow", "deny"]), -2..2_i32, any::<bool>()), 0..12),
        action in one_of(&["runs.read", "runs.cancel", "playbooks.start"]),
        object in one_of(&["web", "web-1", "db", "x"]),
        principal in one_of(&["account:ada", "account:bob", "system:web", "certificate:x"]),
    ) {
        let list: Vec<Value> = list.into_iter().map(|(principal, action, object, effect, priority, own)| json!({
            "principals": [principal], "actions": [action], "objects": [object], "effect": effect,
            "priority": priority, "own": own,
        })).collect();
        let policy = policy(Value::Array(list));
        let principal = who(principal).with(&["user".to_owned()], &["ops".to_owned()]);
        let request = Request::of(action, object);
        let decision = policy.decide(&principal, &request);
        let decides = policy.explain(&principal, &request).into_iter().find(|one| one.decides);
        prop_assert_eq!(decision.is_allowed, decides.as_ref().is_some_and(|one| one.why == "allows it"));
        if let Some(decides) = decides {
            prop_assert_eq!(decision.rule, decides.rule);
        }
        if decision.is_allowed {
            prop_assert!(policy.may_some(&principal, action));
        }
    }
}
