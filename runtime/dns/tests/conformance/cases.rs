//! The cases by feature.

mod places;

use std::sync::Arc;

use dns::driver::check_feature;
use dns::{Change, Driver, Feature, RecordSet, Zone};
use effect::Code;

use crate::bench::{Peer, assert_failed, name, rtype, set, zone};

/// What every driver does, then every feature that the driver declares; every other one is refused, and at least `minimum`
/// is declared.
pub(crate) async fn run(peer: &dyn Peer, minimum: &[Feature]) {
    let driver = peer.driver();
    for feature in Feature::REQUIRED.iter().chain(minimum) {
        assert!(driver.features().contains(feature), "{} needs {}", driver.name(), feature.describe());
    }
    sets_of_common_types(peer).await;
    places::names_of_all_kinds(peer).await;
    a_set_is_replaced_and_taken_away(&*driver).await;
    what_is_so_already_changes_nothing(peer).await;
    places::wildcards_are_not_taken_for_records(&*driver).await;
    places::delegations_and_glue_are_read(&*driver).await;
    places::the_apex_keeps_its_servers(&*driver).await;
    places::a_cname_is_alone(&*driver).await;
    zones_are_told_apart(&*driver).await;
    let mut seen = Vec::new();
    for feature in Feature::ALL {
        if driver.features().contains(&feature) {
            check_feature(&*driver, feature).unwrap();
            works(peer, feature).await;
        } else {
            is_refused(&*driver, feature).await;
        }
        seen.push(feature);
    }
    assert_eq!(seen, Feature::ALL, "a case that is skipped fails");
}

async fn is_refused(driver: &dyn Driver, feature: Feature) {
    let error = assert_failed(check_feature(driver, feature), Code::Unsupported, feature.describe());
    assert!(error.message.contains(driver.name()), "{error}");
    match feature {
        Feature::ZoneList => drop(assert_failed(driver.zones().await, Code::Unsupported, "listing zones")),
        Feature::Zones => {
            let made = driver.put_zone(&new_zone(), &new_servers()).await;
            assert_failed(made, Code::Unsupported, "making and removing zones");
            assert_failed(driver.remove_zone(&zone()).await, Code::Unsupported, "making and removing zones");
        }
        _ => {}
    }
}

async fn works(peer: &dyn Peer, feature: Feature) {
    let driver = peer.driver();
    match feature {
        Feature::Zones => zones_are_made_and_removed(&*driver).await,
        Feature::ZoneList => {
            let zones = driver.zones().await.unwrap();
            assert!(zones.iter().any(|found| found.zone == zone()), "{zones:?}");
        }
        Feature::Listing => everything_is_listed(&driver).await,
        Feature::Transactions => changes_are_whole(&*driver).await,
        Feature::EveryType => {
            let odd = set("odd", "TYPE65280", 60, &["\\# 3 ABCDEF", "\\# 1 00", "\\# 0"]);
            put_and_read(&*driver, &odd).await;
            remove(&*driver, "odd", "TYPE65280").await;
        }
    }
}

async fn read(driver: &dyn Driver, set: &RecordSet) -> Option<RecordSet> {
    driver
        .get(&zone(), &set.name, set.rtype)
        .await
        .unwrap_or_else(|error| panic!("{} {}: {error:?}", set.name, set.rtype))
}

async fn put(driver: &dyn Driver, set: &RecordSet) {
    driver
        .change(&zone(), &Change::putting(set.clone()))
        .await
        .unwrap_or_else(|error| panic!("{} {} {:?}: {error:?}", set.name, set.rtype, set.texts()));
}

async fn remove(driver: &dyn Driver, owner: &str, kind: &str) {
    driver.change(&zone(), &Change::removing(name(owner), rtype(kind))).await.unwrap();
    assert_eq!(driver.get(&zone(), &name(owner), rtype(kind)).await.unwrap(), None);
}

#[track_caller]
fn assert_same(found: Option<&RecordSet>, wanted: &RecordSet) {
    let found = found.unwrap_or_else(|| panic!("there is no {} {}", wanted.name, wanted.rtype));
    assert!(found.same_as(wanted), "{found:?} {:?} is not {wanted:?} {:?}", found.texts(), wanted.texts());
}

async fn put_and_read(driver: &dyn Driver, set: &RecordSet) {
    put(driver, set).await;
    assert_same(read(driver, set).await.as_ref(), set);
}

async fn sets_of_common_types(peer: &dyn Peer) {
    let long = format!("\"{}\" \"{}\"", "x".repeat(255), "y".repeat(200));
    let all: &[(&str, &str, &[&str])] = &[
        ("a", "A", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        ("a", "AAAA", &["2001:db8::1", "2001:db8::2"]),
        ("alias", "CNAME", &["a.mcrun.test."]),
        ("mail", "MX", &["10 mx1.example.", "20 mx2.example."]),
        ("_sip._tcp", "SRV", &["0 5 5060 sip.example.", "10 5 5060 sip2.example."]),
        ("text", "TXT", &["\"v=spf1 -all\"", "\"two\" \"strings\"", "\"quo\\\"te\"", &long]),
        ("pointer", "PTR", &["host.example."]),
        ("caa", "CAA", &["0 issue \"letsencrypt.org\"", "128 iodef \"mailto:a@example.org\""]),
        ("host", "SSHFP", &["4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789"]),
        (
            "_443._tcp.host",
            "TLSA",
            &["3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971"],
        ),
        ("naptr", "NAPTR", &["100 50 \"s\" \"z3950+I2L+I2C\" \"\" _z3950._tcp.example."]),
        ("web", "HTTPS", &["1 . alpn=\"h2,h3\"", "2 other.example. port=8443"]),
        ("service", "SVCB", &["1 svc.example. port=53"]),
        ("host", "HINFO", &["\"PC\" \"Linux\""]),
        ("tree", "DNAME", &["other.example."]),
        ("child", "NS", &["ns.example.", "ns2.example."]),
        ("child", "DS", &["60485 13 2 d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50a"]),
    ];
    let driver = peer.driver();
    for (owner, kind, values) in all {
        if peer.has(rtype(kind)) {
            put_and_read(&*driver, &set(owner, kind, 300, values)).await;
        }
    }
    for (owner, kind, _) in all {
        if peer.has(rtype(kind)) {
            remove(&*driver, owner, kind).await;
        }
    }
}

async fn a_set_is_replaced_and_taken_away(driver: &dyn Driver) {
    let first = set("replaced", "A", 300, &["192.0.2.1", "192.0.2.2"]);
    put_and_read(driver, &first).await;
    for wanted in [
        set("replaced", "A", 300, &["192.0.2.2", "192.0.2.3"]),
        set("replaced", "A", 60, &["192.0.2.2", "192.0.2.3"]),
        set("replaced", "A", 60, &["192.0.2.4"]),
        set("replaced", "A", 120, &["192.0.2.4", "192.0.2.5", "192.0.2.6"]),
    ] {
        put_and_read(driver, &wanted).await;
    }
    let other = set("replaced", "AAAA", 300, &["2001:db8::1"]);
    put_and_read(driver, &other).await;
    remove(driver, "replaced", "A").await;
    assert_same(read(driver, &other).await.as_ref(), &other);
    remove(driver, "replaced", "AAAA").await;
    assert_eq!(driver.get(&zone(), &name("replaced"), rtype("A")).await.unwrap(), None);
    assert_eq!(driver.get(&zone(), &name("never"), rtype("A")).await.unwrap(), None);
}

async fn serial(driver: &dyn Driver) -> u32 {
    driver.zone(&zone()).await.unwrap().unwrap().serial
}

async fn what_is_so_already_changes_nothing(peer: &dyn Peer) {
    let driver = &*peer.driver();
    let wanted = set("twice", "A", 300, &["192.0.2.1", "192.0.2.2"]);
    let before = serial(driver).await;
    put(driver, &wanted).await;
    let after = serial(driver).await;
    assert!(after.wrapping_sub(before) > 0, "the serial goes up: {before} {after}");
    put(driver, &wanted).await;
    if peer.keeps_its_serial() {
        assert_eq!(serial(driver).await, after);
    }
    remove(driver, "twice", "A").await;
    let gone = serial(driver).await;
    remove(driver, "twice", "A").await;
    driver.change(&zone(), &Change::default()).await.unwrap();
    if peer.keeps_its_serial() {
        assert_eq!(serial(driver).await, gone);
    }
}

async fn zones_are_told_apart(driver: &dyn Driver) {
    let found = driver.zone(&zone()).await.unwrap().unwrap();
    assert_eq!((found.zone, found.primary), (zone(), name("ns1")));
    for unknown in ["nowhere.test", "sub.mcrun.test"] {
        let unknown = dns::Name::absolute(unknown).unwrap();
        assert_eq!(driver.zone(&unknown).await.unwrap(), None);
        assert_failed(driver.get(&unknown, &unknown, rtype("A")).await, Code::DnsZone, "");
        assert_failed(driver.list(&unknown).await, Code::DnsZone, "");
        let set = RecordSet { name: unknown.clone(), ..set("@", "A", 60, &["192.0.2.1"]) };
        assert_failed(driver.change(&unknown, &Change::putting(set)).await, Code::DnsZone, "");
    }
}

async fn everything_is_listed(driver: &Arc<dyn Driver>) {
    let before = driver.list(&zone()).await.unwrap();
    let many: Vec<RecordSet> = (0..300)
        .map(|n| set(&format!("n{n:03}.many"), "A", 60, &[&format!("192.0.2.{}", n % 250)]))
        .collect();
    for part in many.chunks(100) {
        driver.change(&zone(), &Change { put: part.to_vec(), remove: Vec::new() }).await.unwrap();
    }
    let all = driver.list(&zone()).await.unwrap();
    assert_eq!(all.len(), before.len() + many.len());
    assert!(all.iter().is_sorted_by_key(|set| (set.name.clone(), set.rtype)));
    assert!(all.iter().all(|set| set.rtype != dns::RecordType::SOA));
    for wanted in &many {
        assert_same(all.iter().find(|set| set.name == wanted.name), wanted);
    }
    let remove = many.iter().map(|set| (set.name.clone(), set.rtype)).collect();
    driver.change(&zone(), &Change { put: Vec::new(), remove }).await.unwrap();
    assert_eq!(driver.list(&zone()).await.unwrap(), before);
}

async fn changes_are_whole(driver: &dyn Driver) {
    let alias = set("blocked", "CNAME", 60, &["a.example."]);
    put(driver, &alias).await;
    let before = serial(driver).await;
    let fine = set("fine", "A", 60, &["192.0.2.1"]);
    let blocked = set("blocked", "A", 60, &["192.0.2.1"]);
    let change = Change { put: vec![fine.clone(), blocked], remove: vec![(name("gone"), rtype("A"))] };
    assert_failed(driver.change(&zone(), &change).await, Code::DnsExclusive, "blocked");
    assert_eq!(read(driver, &fine).await, None);
    assert_eq!(serial(driver).await, before);
    let several = Change {
        put: vec![fine.clone(), set("fine", "TXT", 60, &["\"x\""])],
        remove: vec![(name("blocked"), rtype("CNAME"))],
    };
    driver.change(&zone(), &several).await.unwrap();
    assert_same(read(driver, &fine).await.as_ref(), &fine);
    assert_eq!(read(driver, &alias).await, None);
    remove(driver, "fine", "A").await;
    remove(driver, "fine", "TXT").await;
}

fn new_zone() -> Zone {
    Zone {
        zone: dns::Name::absolute("made.test").unwrap(),
        serial: 1,
        primary: name("ns1"),
        admin: name("hostmaster"),
        refresh: 3600,
        retry: 600,
        expire: 604_800,
        minimum: 300,
    }
}

fn new_servers() -> RecordSet {
    RecordSet { name: dns::Name::absolute("made.test").unwrap(), ..set("@", "NS", 300, &["ns1.mcrun.test."]) }
}

async fn zones_are_made_and_removed(driver: &dyn Driver) {
    let wanted = new_zone();
    driver.put_zone(&wanted, &new_servers()).await.unwrap();
    driver.put_zone(&wanted, &new_servers()).await.unwrap();
    let found = driver.zone(&wanted.zone).await.unwrap().unwrap();
    assert_eq!((&found.zone, &found.primary, found.minimum), (&wanted.zone, &wanted.primary, 300));
    let servers = driver.get(&wanted.zone, &wanted.zone, rtype("NS")).await.unwrap();
    assert_same(servers.as_ref(), &new_servers());
    driver.put_zone(&Zone { minimum: 60, ..wanted.clone() }, &new_servers()).await.unwrap();
    assert_eq!(driver.zone(&wanted.zone).await.unwrap().unwrap().minimum, 60);
    driver.remove_zone(&wanted.zone).await.unwrap();
    driver.remove_zone(&wanted.zone).await.unwrap();
    assert_eq!(driver.zone(&wanted.zone).await.unwrap(), None);
}
