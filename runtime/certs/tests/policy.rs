//! Laws of the policy on names and of names themselves, tried on rules and names that chance makes.

#![allow(clippy::unwrap_used, reason = "in tests and their helpers a panic is the failure")]

use std::collections::BTreeMap;

use certs::policy::{Applicant, Policy, Rules};
use certs::{Name, Names, Profile, Profiles};
use effect::Code;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Few words, so that names lie within domains, and domains within each other, all the time.
const WORDS: [&str; 7] = ["a", "b", "corp", "example", "test", "internal", "xn--bcher-kva"];
const SERVICES: [&str; 3] = ["mcq", "mcr", "web"];
const ADDRESSES: [&str; 5] = ["127.0.0.1", "192.0.2.1", "192.0.2.77", "::1", "2001:db8::1"];

fn domain() -> impl Strategy<Value = String> {
    vec(select(&WORDS[..]), 1..4).prop_map(|labels| labels.join("."))
}

/// A host name, a wildcard or an address.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => domain(),
        2 => domain().prop_map(|domain| format!("*.{domain}")),
        1 => select(&ADDRESSES[..]).prop_map(str::to_owned),
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![domain(), domain().prop_map(|domain| format!("*.{domain}"))]
}

fn rules() -> impl Strategy<Value = Rules> {
    let services = btree_map(select(&SERVICES[..]).prop_map(str::to_owned), vec(pattern(), 0..4), 0..3);
    let addresses = vec(select(&["192.0.2.*", "2001:db8::1"][..]).prop_map(str::to_owned), 0..2);
    (vec(domain(), 0..4), vec(domain(), 0..4), option::of(services), addresses).prop_map(
        |(domains, public_domains, services, addresses)| Rules {
            domains,
            public_domains,
            services,
            addresses,
            everything: false,
        },
    )
}

/// Who asks, for what profile.
#[derive(Debug, Clone)]
struct Asker {
    service: Option<&'static str>,
    wildcards: bool,
    profile: &'static str,
}

fn asker() -> impl Strategy<Value = Asker> {
    let profile = select(&["server", "client", "both", "public"][..]);
    (option::of(select(&SERVICES[..])), any::<bool>(), profile)
        .prop_map(|(service, wildcards, profile)| Asker { service, wildcards, profile })
}

fn profile(name: &str) -> Profile {
    Profiles::new(&BTreeMap::new()).unwrap().get(name).unwrap().clone()
}

fn admits<T: AsRef<str>>(rules: &Rules, names: &[T], asker: &Asker) -> bool {
    let applicant = Applicant { service: asker.service, wildcards: asker.wildcards };
    let names = Names::parse(names).unwrap();
    match Policy::new(rules).unwrap().admit(&names, &profile(asker.profile), applicant) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.code, Code::CertificatePolicy);
            assert!(error.hint.is_some(), "{error:?}");
            false
        }
    }
}

/// Whether `name` is `domain` or lies beneath it: another way to say it than the policy's own.
fn lies_in(name: &str, domain: &str) -> bool {
    let name = name.trim_start_matches("*.");
    name == domain || name.ends_with(&format!(".{domain}"))
}

fn longest(domains: &[String], name: &str) -> Option<usize> {
    domains.iter().filter(|domain| lies_in(name, domain)).map(String::len).max()
}

fn internal(rules: &Rules) -> Vec<String> {
    Policy::new(rules).unwrap().internal().to_vec()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => name == pattern,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_list_is_allowed_exactly_where_each_of_its_names_is(
        rules in rules(), names in vec(name(), 1..6), asker in asker()
    ) {
        let each = names.iter().all(|name| admits(&rules, &[name], &asker));
        prop_assert_eq!(admits(&rules, &names, &asker), each);
    }

    #[test]
    fn a_renewal_is_answered_like_the_first_request(
        rules in rules(), names in vec(name(), 1..4), others in vec(name(), 1..4), asker in asker()
    ) {
        let policy = Policy::new(&rules).unwrap();
        let applicant = Applicant { service: asker.service, wildcards: asker.wildcards };
        let ask = |names: &[String]| policy.admit(&Names::parse(names).unwrap(), &profile(asker.profile), applicant);
        let first = ask(&names);
        // What was asked between changes nothing: the policy remembers nothing.
        let _ = ask(&others);
        prop_assert_eq!(ask(&names), first);
    }

    #[test]
    fn an_internal_name_is_public_only_by_a_narrower_domain(rules in rules(), name in name(), asker in asker()) {
        let asker = Asker { profile: "public", ..asker };
        if admits(&rules, &[&name], &asker) {
            let public = longest(&rules.public_domains, &name);
            prop_assert!(public.is_some(), "it is listed as public");
            prop_assert!(public > longest(&internal(&rules), &name), "and not as internal more narrowly");
        }
    }

    #[test]
    fn an_internal_profile_has_internal_names_and_listed_addresses_only(
        rules in rules(), name in name(), asker in asker()
    ) {
        if asker.profile != "public" && admits(&rules, &[&name], &asker) {
            let is_address = ADDRESSES.contains(&name.as_str());
            let is_listed = name == "127.0.0.1" || name == "::1"
                || rules.addresses.iter().any(|listed| match listed.strip_suffix('*') {
                    Some(start) => name.starts_with(start),
                    None => *listed == name,
                });
            let is_internal = longest(&internal(&rules), &name).is_some();
            prop_assert_eq!(is_address, !is_internal);
            prop_assert!(!is_address || is_listed);
        }
    }

    #[test]
    fn a_wildcard_needs_its_grant_which_gives_nothing_else(rules in rules(), name in name(), asker in asker()) {
        let (with, without) = (Asker { wildcards: true, ..asker.clone() }, Asker { wildcards: false, ..asker });
        if name.starts_with('*') {
            prop_assert!(!admits(&rules, &[&name], &without));
        } else {
            prop_assert_eq!(admits(&rules, &[&name], &with), admits(&rules, &[&name], &without));
        }
    }

    #[test]
    fn a_wildcard_covers_no_name_that_would_be_refused(
        rules in rules(), domain in domain(), label in select(&WORDS[..]), asker in asker()
    ) {
        let rules = Rules { services: None, ..rules };
        let asker = Asker { wildcards: true, ..asker };
        if admits(&rules, &[format!("*.{domain}")], &asker) {
            let covered = format!("{label}.{domain}");
            prop_assert!(admits(&rules, &[&covered], &asker), "`{}` is covered", covered);
        }
    }

    #[test]
    fn order_repetition_case_and_script_of_names_do_not_matter(
        rules in rules(), names in vec(name(), 1..5), asker in asker(), seed in any::<u64>()
    ) {
        let mut written: Vec<String> = names.iter().map(|name| name.replace("xn--bcher-kva", "BÜCHER")).collect();
        written.rotate_left(usize::try_from(seed % 5).unwrap() % names.len());
        for (place, name) in written.iter_mut().enumerate() {
            if seed >> place & 1 == 1 {
                *name = name.to_ascii_uppercase();
            }
        }
        written.push(written[0].clone());
        prop_assert_eq!(admits(&rules, &written, &asker), admits(&rules, &names, &asker));
        prop_assert!(Names::parse(&written).unwrap().same_as(&Names::parse(&names).unwrap()));
    }

    #[test]
    fn a_service_has_only_its_own_names(rules in rules(), name in name(), asker in asker()) {
        if let Some(services) = &rules.services
            && admits(&rules, &[&name], &asker)
        {
            let own = asker.service.and_then(|service| services.get(service));
            prop_assert!(own.is_some_and(|own| own.iter().any(|pattern| matches(pattern, &name))));
            // Listing names for services takes away only.
            let unlisted = Rules { services: None, ..rules.clone() };
            prop_assert!(admits(&unlisted, &[&name], &asker));
        }
    }

    #[test]
    fn any_text_is_refused_or_brought_to_one_form(text in prop_oneof![
        ".{0,300}",
        "[a-zA-Z0-9.*üß٠-]{0,80}",
        "(\\*\\.)?([a-z0-9-]{1,70}\\.){0,6}[a-z]{1,5}\\.?",
        "xn--[a-z0-9-]{0,40}(\\.test)?",
        "[0-9a-f:.]{0,40}",
    ]) {
        match text.parse::<Name>() {
            Ok(name) => {
                let form = name.to_string();
                prop_assert_eq!(form.parse::<Name>().unwrap(), name.clone());
                prop_assert!(form.len() <= 253 && form.is_ascii());
                prop_assert!(!form.bytes().any(|byte| byte.is_ascii_uppercase() || byte <= b' '));
                if let Some(domain) = name.domain() {
                    prop_assert!(name.is_within(domain) && !domain.contains('*') && !domain.ends_with('.'));
                }
                let told = serde_json::to_string(&name).unwrap();
                prop_assert_eq!(serde_json::from_str::<Name>(&told).unwrap(), name);
            }
            Err(error) => {
                prop_assert_eq!(error.code, Code::CertificateName);
                prop_assert!(error.message.len() < 1000, "it repeats no more than it must");
            }
        }
    }
}
