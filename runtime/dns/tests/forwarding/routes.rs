//! Whom a name is asked of.

use crate::*;

#[tokio::test(start_paused = true)]
async fn the_longest_zone_counts_and_its_names_go_nowhere_else() {
    let public = Fake::start(|query| query.address(1, 300)).await;
    let corp = Fake::start(|query| query.address(2, 300)).await;
    let broken = Fake::start(|query| query.refuse(Rcode::SERVFAIL)).await;
    let mut settings = settings(&[&public]);
    let upstream = |fake: &Fake| vec![fake.address.to_string().parse().unwrap()];
    settings.zones.insert("Corp.Example".into(), upstream(&corp));
    settings.zones.insert("lab.corp.example.".into(), upstream(&broken));
    settings.zones.insert("10.in-addr.arpa".into(), upstream(&corp));
    let forwarder = Forwarder::new(&settings).unwrap();
    assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(1, 300)]);
    assert_eq!(addresses(&resolve(&forwarder, "notcorp.example").await), [(1, 300)]);
    assert_eq!(addresses(&resolve(&forwarder, "corp.example").await), [(2, 300)]);
    assert_eq!(addresses(&resolve(&forwarder, "a.b.corp.example").await), [(2, 300)]);
    assert_eq!(addresses(&resolve(&forwarder, "1.0.0.10.in-addr.arpa").await), [(2, 300)]);
    let lab = resolve(&forwarder, "x.lab.corp.example").await;
    assert_eq!(lab.header().rcode(), Rcode::SERVFAIL);
    assert_eq!(public.queries(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_alias_out_of_a_zone_is_followed_to_those_who_know() {
    let public = Fake::start(|query| query.address(1, 100)).await;
    let corp = Fake::start(|query| {
        let answer = query.answer(Rcode::NOERROR).cname(&query.text(), "www.public.example", 300);
        vec![answer.bytes()]
    })
    .await;
    let mut settings = settings(&[&public]);
    settings.zones.insert("corp.example".into(), vec![corp.address.to_string().parse().unwrap()]);
    let forwarder = Forwarder::new(&settings).unwrap();
    let answer = resolve(&forwarder, "www.corp.example").await;
    assert_eq!(types(&answer), [Rtype::CNAME, Rtype::A]);
    assert_eq!(addresses(&answer), [(1, 100)]);
    advance(Duration::from_secs(101)).await;
    assert_eq!(cached(&forwarder, "www.corp.example").0, Lookup::Stale);
}

#[tokio::test(start_paused = true)]
async fn names_that_the_public_dns_cannot_know_do_not_leak() {
    let fallback = Fake::start(|query| query.address(66, 300)).await;
    let forwarder = forwarder(&[&fallback]);
    for (name, rcode) in [
        ("localhost", Rcode::NOERROR),
        ("some.onion", Rcode::NXDOMAIN),
        ("a.test", Rcode::NXDOMAIN),
        ("nas.home.arpa", Rcode::NXDOMAIN),
        ("printer.local", Rcode::NXDOMAIN),
        ("1.1.168.192.in-addr.arpa", Rcode::NXDOMAIN),
    ] {
        assert_eq!(resolve(&forwarder, name).await.header().rcode(), rcode, "{name}");
        assert!(matches!(cached(&forwarder, name).0, Lookup::Hit { .. }), "{name}");
    }
    assert_eq!(fallback.queries(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_private_resolver_is_asked_for_names_of_its_network_and_the_fallback_is_not() {
    let router = Fake::start(|query| query.refuse(Rcode::SERVFAIL)).await;
    let fallback = Fake::start(|query| query.address(66, 300)).await;
    let mut settings = settings(&[&fallback]);
    settings.resolvers = vec![router.address.to_string().parse().unwrap()];
    let forwarder = Forwarder::new(&settings).unwrap();
    assert_eq!(resolve(&forwarder, "nas.home.arpa").await.header().rcode(), Rcode::SERVFAIL);
    assert_eq!((router.queries(), fallback.queries()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_alias_that_is_left_open_without_a_word_is_not_kept_for_long() {
    let lazy = Fake::start(|query| {
        vec![query.answer(Rcode::NOERROR).cname(&query.text(), "web.example", 86_400).bytes()]
    })
    .await;
    let forwarder = forwarder(&[&lazy]);
    assert_eq!(types(&resolve(&forwarder, "www.example").await), [Rtype::CNAME]);
    advance(Duration::from_secs(31)).await;
    assert_eq!(cached(&forwarder, "www.example").0, Lookup::Stale);
}
