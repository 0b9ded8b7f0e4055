use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::remote::Pass;

fn rules() -> Rules {
    let api: Api = toml::from_str(
        r#"
        domains = ["metacircular.net"]
        internal = ["svc.mcp.metacircular.net"]

        [clients.rift]
        domains = ["metacircular.net"]
        services = ["mcq"]

        [clients.lab]
        domains = ["lab.example"]
        backends = ["127.0.0.0/8"]
        "#,
    )
    .unwrap();
    api.clients.get("rift").unwrap();
    Rules::new(&api)
}

fn route(hostname: &str, service: &str, backend: &str, public: bool) -> Route {
    serde_json::from_value(json!({
        "listen": 443, "hostname": hostname, "service": service, "backends": [backend], "public": public,
    }))
    .unwrap()
}

struct All;

impl Pass for All {
    fn may_see(&self, _: &Key) -> bool {
        true
    }
}

/// What the policy of access lets everything through with.
fn passed() -> Passed {
    Passed(Arc::new(All))
}

fn holder(name: &str) -> Caller {
    Caller::Holder(vec![name.into()])
}

#[test]
fn a_public_name_is_beneath_an_allowed_domain_whoever_asks() {
    let rules = rules();
    for caller in [Caller::Local, holder("rift")] {
        let grant = rules.grant(Some(&caller), Some(&passed())).unwrap();
        for fine in ["metacircular.net", "mcq.metacircular.net", "*.metacircular.net"] {
            grant.check(&route(fine, "mcq", "100.64.0.1:80", true)).unwrap();
        }
        for outside in ["evil.example", "evilmetacircular.net", "metacircular.net.evil.example", "*", "*.net"]
        {
            let error = grant.check(&route(outside, "mcq", "100.64.0.1:80", true)).unwrap_err();
            assert_eq!(error.code, Code::ProxyRefused, "{outside}");
        }
        for internal in ["mcq.svc.mcp.metacircular.net", "*.mcp.metacircular.net", "svc.mcp.metacircular.net"]
        {
            let error = grant.check(&route(internal, "mcq", "100.64.0.1:80", true)).unwrap_err();
            assert!(error.message.contains("an internal name"), "{internal}: {error}");
        }
    }
}

#[test]
fn not_saying_public_opens_nothing_to_a_client() {
    let rules = rules();
    let rift = holder("rift");
    let grant = rules.grant(Some(&rift), Some(&passed())).unwrap();
    assert!(grant.check(&route("evil.example", "mcq", "100.64.0.1:80", false)).is_err());
    assert!(grant.check(&route("mcq.svc.mcp.metacircular.net", "mcq", "100.64.0.1:80", false)).is_err());
    let here = rules.grant(Some(&Caller::Local), Some(&passed())).unwrap();
    here.check(&route("mcq.svc.mcp.metacircular.net", "mcq", "127.0.0.1:80", false)).unwrap();
}

#[test]
fn a_client_speaks_for_its_services_and_domains_only() {
    let rules = rules();
    let rift = holder("rift");
    let grant = rules.grant(Some(&rift), Some(&passed())).unwrap();
    let error = grant.check(&route("mcr.metacircular.net", "mcr", "100.64.0.1:80", true)).unwrap_err();
    assert!(error.message.contains("the service `mcr`"), "{error}");
    assert!(grant.sees(&"mcr.metacircular.net".parse().unwrap()));
    assert!(!grant.sees(&"a.lab.example".parse().unwrap()));
    assert!(grant.may_touch(&"a.metacircular.net".parse().unwrap(), None).is_err());
}

#[test]
fn back_ends_of_a_client_are_not_this_machine_unless_that_is_allowed() {
    let rules = rules();
    let (rift, lab) = (holder("rift"), holder("lab"));
    let (rift, lab) = (
        rules.grant(Some(&rift), Some(&passed())).unwrap(),
        rules.grant(Some(&lab), Some(&passed())).unwrap(),
    );
    for inside in ["127.0.0.1:9090", "[::1]:80", "[::ffff:127.0.0.1]:80", "169.254.169.254:80"] {
        let error = rift.check(&route("mcq.metacircular.net", "mcq", inside, true)).unwrap_err();
        assert!(error.message.contains("is not where back ends"), "{inside}: {error}");
    }
    lab.check(&route("a.lab.example", "x", "127.0.0.1:80", false)).unwrap();
    assert!(lab.check(&route("a.lab.example", "x", "100.64.0.1:80", false)).is_err());
}

#[test]
fn a_certificate_with_an_internal_name_is_not_shown_to_everybody() {
    let rules = rules();
    let rift = holder("rift");
    let grant = rules.grant(Some(&rift), Some(&passed())).unwrap();
    let route = route("mcq.metacircular.net", "mcq", "100.64.0.1:80", true);
    let check = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        grant.check_names(&route, "mcq", &names)
    };
    check(&["mcq.metacircular.net"]).unwrap();
    assert!(check(&["mcq.metacircular.net", "mcq.svc.mcp.metacircular.net"]).is_err());
    assert!(check(&["mcq.metacircular.net", "bank.example"]).is_err());
}

#[test]
fn nobody_is_told_which_name_is_missing() {
    let rules = rules();
    let refused = |caller: Option<Caller>| rules.grant(caller.as_ref(), Some(&passed())).unwrap_err();
    let stranger = refused(Some(holder("stranger")));
    assert_eq!(stranger.code, Code::ProxyRefused);
    assert!(stranger.message.contains("`stranger`") && stranger.hint.is_some(), "{stranger}");
    assert!(refused(None).message.contains("no name"));
    assert!(refused(Some(Caller::Holder(Vec::new()))).message.contains("no name"));
}
