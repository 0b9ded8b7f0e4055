use globset::GlobBuilder;
use proptest::prelude::*;

use super::*;

fn rule(name: &str, priority: u16, allow: bool) -> Rule {
    Rule {
        name: name.parse().unwrap(),
        priority,
        allow,
        roles: BTreeSet::new(),
        accounts: Vec::new(),
        kind: None,
        groups: BTreeSet::new(),
        services: Vec::new(),
        service_tags: BTreeSet::new(),
        addresses: Vec::new(),
        times: Vec::new(),
        first_factors: BTreeSet::new(),
        second_factor: false,
    }
}

fn set(rules: Vec<Rule>) -> RuleSet {
    RuleSet { name: "main".parse().unwrap(), rules }
}

fn alice() -> Account {
    let mut account = Account::new("alice".parse().unwrap(), Kind::Human, 0).unwrap();
    account.roles.insert(Role::User);
    account
}

const NOON: Timestamp = Timestamp(1_767_355_200_000); // Friday, 2026-01-02T12:00:00Z

fn decided(rules: Vec<Rule>, address: Option<&str>, at: Timestamp) -> Explanation {
    let (account, service, tags) = (alice(), "mcq".parse().unwrap(), BTreeSet::new());
    let policy = Policy::new(&[set(rules)]).unwrap();
    let attempt = Attempt {
        account: &account,
        service: &service,
        service_tags: &tags,
        address: address.map(|address| address.parse().unwrap()),
        at,
        first: Some(FirstFactor::Password),
    };
    let explanation = policy.explain(&attempt);
    assert_eq!(policy.decide(&attempt).is_allowed, explanation.allowed);
    explanation
}

#[test]
fn nobody_is_let_in_without_a_rule() {
    let explanation = decided(Vec::new(), None, NOON);
    assert!(!explanation.allowed && explanation.rule.is_none() && explanation.tried.is_empty());
}

#[test]
fn the_lowest_number_decides_and_refusals_come_first() {
    let explanation = decided(vec![rule("b", 20, true), rule("a", 10, false)], None, NOON);
    assert_eq!((explanation.allowed, explanation.rule.as_deref()), (false, Some("a")));
    let explanation = decided(vec![rule("a", 10, true), rule("z", 10, false)], None, NOON);
    assert_eq!((explanation.allowed, explanation.rule.as_deref()), (false, Some("z")));
}

#[test]
fn each_rule_before_the_one_that_decides_says_why_it_did_not() {
    let mut rules: Vec<Rule> =
        ["type", "role", "service", "account", "group", "tag", "first", "address", "time"]
            .iter()
            .enumerate()
            .map(|(at, name)| rule(name, at as u16, true))
            .collect();
    rules[0].kind = Some(Kind::System);
    rules[1].roles = [Role::Admin].into();
    rules[2].services = vec!["mcr".into(), "meta*".into()];
    rules[3].accounts = vec!["bob".into()];
    rules[4].groups = ["ops".parse().unwrap()].into();
    rules[5].service_tags = ["internal".parse().unwrap()].into();
    rules[6].first_factors = [FirstFactor::External].into();
    rules[7].addresses = vec!["10.0.0.0/8".into()];
    rules[8].times = vec![Window {
        days: [Day::Sat, Day::Sun].into(),
        from: Some("08:00".into()),
        to: None,
        zone: Some("Europe/Berlin".into()),
    }];
    rules.push(rule("last", 99, true));
    let explanation = decided(rules, Some("192.0.2.1"), NOON);
    assert_eq!(explanation.rule.as_deref(), Some("last"));
    let whys: Vec<&str> = explanation.tried.iter().map(|tried| tried.why.as_str()).collect();
    assert_eq!(
        whys,
        [
            "it is not for human accounts",
            "it is for roles admin",
            "it is for services mcr, meta*",
            "it is for accounts bob",
            "it is for groups ops",
            "it is for services tagged internal",
            "it is for the first factors external",
            "192.0.2.1 is not in 10.0.0.0/8",
            "it is for sat+sun 08:00–24:00 Europe/Berlin",
        ]
    );
}

#[test]
fn a_rule_lets_in_by_password_alone_unless_it_says_otherwise() {
    let (account, service, tags) = (alice(), "mcq".parse().unwrap(), BTreeSet::new());
    let by = |first| Attempt {
        account: &account,
        service: &service,
        service_tags: &tags,
        address: None,
        at: NOON,
        first,
    };
    let others = [FirstFactor::Passkey, FirstFactor::External];
    let plain = Policy::new(&[set(vec![rule("plain", 1, true)])]).unwrap();
    assert!(plain.decide(&by(Some(FirstFactor::Password))).is_allowed);
    assert!(plain.decide(&by(None)).is_allowed, "a token that is made without a sign-in");
    for other in others {
        let explained = plain.explain(&by(Some(other)));
        assert!(!explained.allowed);
        assert_eq!(explained.tried[0].why, "it names no first factors, so it lets in by password alone");
        let named = Rule { first_factors: [other].into(), ..rule("named", 1, true) };
        let named = Policy::new(&[set(vec![named])]).unwrap();
        assert!(named.decide(&by(Some(other))).is_allowed);
        assert!(!named.decide(&by(Some(FirstFactor::Password))).is_allowed);
        assert!(!named.decide(&by(None)).is_allowed);
        // A refusal that names nothing is not to be got around by showing something else.
        let refusing = [rule("no", 1, false), Rule { first_factors: [other].into(), ..rule("yes", 2, true) }];
        assert!(!Policy::new(&[set(refusing.into())]).unwrap().decide(&by(Some(other))).is_allowed);
    }
}

#[test]
fn an_address_in_another_dress_is_the_same_one() {
    let mut refused = rule("lan", 1, false);
    refused.addresses = vec!["192.0.2.0/24".into()];
    let rules = vec![refused, rule("rest", 2, true)];
    for (address, allowed) in [
        (Some("192.0.2.7"), false),
        (Some("::ffff:192.0.2.7"), false),
        (Some("198.51.100.1"), true),
        (None, true),
    ] {
        assert_eq!(decided(rules.clone(), address, NOON).allowed, allowed, "{address:?}");
    }
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
    let mut night = rule("night", 1, true);
    night.times = vec![Window {
        days: [Day::Fri].into(),
        from: Some("22:00".into()),
        to: Some("06:00".into()),
        zone: None,
    }];
    let hour = 3_600_000;
    for (hours, allowed) in [(-12, false), (9, false), (10, true), (17, true), (18, false), (34, false)] {
        let at = Timestamp(NOON.0 + hours * hour);
        assert_eq!(decided(vec![night.clone()], None, at).allowed, allowed, "{at}");
    }
}

#[test]
fn a_rule_that_makes_no_sense_is_refused_with_its_name() {
    let mut wrong: Vec<Rule> = (0..8).map(|_| rule("odd", 1, true)).collect();
    wrong[0].accounts = vec!["Alice".into()];
    wrong[1].services = vec![String::new()];
    wrong[2].addresses = vec!["10.0.0.1/8".into()];
    wrong[3].addresses = vec!["example.org".into()];
    let window = |from: &str, to: &str, zone: &str| Window {
        days: BTreeSet::new(),
        from: Some(from.into()),
        to: Some(to.into()),
        zone: Some(zone.into()),
    };
    wrong[4].times = vec![window("8:00", "09:00", "UTC")];
    wrong[5].times = vec![window("08:00", "09:00", "Nowhere/AtAll")];
    wrong[6].times = vec![window("08:00", "08:00", "UTC")];
    wrong[7].accounts = vec!["a".into(); MOST_ITEMS + 1];
    for rule in wrong {
        let error = set(vec![rule.clone()]).check().unwrap_err();
        assert_eq!(error.code, Code::LoginPolicy, "{rule:?}");
        assert!(error.message.contains("`odd`"), "{}", error.message);
    }
    assert_eq!(set(vec![rule("a", 1, true); 2]).check().unwrap_err().code, Code::LoginPolicy);
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let patterns = prop::collection::vec("[a-c*]{1,4}", 0..2);
    let roles = prop::collection::btree_set(prop::sample::select(Role::ALL.to_vec()), 0..2);
    ("[a-z]{1,6}", 0_u16..4, any::<bool>(), patterns.clone(), patterns, roles).prop_map(
        |(name, priority, allow, accounts, services, roles)| {
            // Names that are not unique would be refused.
            Rule { accounts, services, roles, ..rule(&name, priority, allow) }
        },
    )
}

proptest! {
    #[test]
    fn the_order_in_which_rules_are_written_does_not_matter(
        rules in prop::collection::vec(any_rule(), 0..8),
        account in "[a-c]{1,4}",
        service in "[a-c]{1,4}",
        seed in any::<u64>(),
    ) {
        let mut unique = BTreeSet::new();
        let rules: Vec<Rule> = rules.into_iter().filter(|rule| unique.insert(rule.name.clone())).collect();
        let mut mixed = rules.clone();
        let length = mixed.len().max(1);
        let by = usize::try_from(seed % length as u64).unwrap().min(rules.len());
        mixed.rotate_left(by);
        mixed.reverse();
        let account = Account { name: account.parse().unwrap(), ..alice() };
        let (service, tags) = (service.parse().unwrap(), BTreeSet::new());
        let first = Some(FirstFactor::Password);
        let attempt = Attempt { account: &account, service: &service, service_tags: &tags, address: None, at: NOON, first };
        let one = Policy::new(&[set(rules.clone())]).unwrap();
        let other = Policy::new(&[set(mixed)]).unwrap();
        prop_assert_eq!(one.explain(&attempt), other.explain(&attempt));
        prop_assert_eq!(one.decide(&attempt).is_allowed, one.explain(&attempt).allowed);
        prop_assert_eq!(one.decide(&attempt).rule.map(ToString::to_string), one.explain(&attempt).rule);
        // Whoever is let in is let in by a rule that says so.
        let explanation = one.explain(&attempt);
        let named = rules.iter().find(|rule| Some(rule.name.to_string()) == explanation.rule);
        prop_assert_eq!(explanation.allowed, named.is_some_and(|rule| rule.allow));
        prop_assert!(explanation.tried.iter().all(|tried| Some(&tried.rule) != explanation.rule.as_ref()));
    }

    #[test]
    fn patterns_mean_what_globs_mean(pattern in "[ab*]{0,8}", name in "[ab]{0,8}") {
        let glob = GlobBuilder::new(&pattern).build().unwrap().compile_matcher();
        prop_assert_eq!(is_like(&pattern, &name), glob.is_match(&name), "{} {}", pattern, name);
    }
}
