use journal::SystemClock;

use super::*;
use crate::driver;
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Value};
use crate::server::records::Record;

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn zone(apex: &str, sets: &[(&str, &str, Vec<String>)]) -> Zone {
    let apex = name(apex);
    let mut zone = Zone::new(driver::Zone {
        zone: apex.clone(),
        serial: 7,
        primary: name("ns.mcrun.test"),
        admin: name("hostmaster.mcrun.test"),
        refresh: 3600,
        retry: 600,
        expire: 604_800,
        minimum: 300,
    });
    for (at, rtype, values) in sets {
        zone.put(&RecordSet::parse(&apex, at, rtype.parse().unwrap(), 60, values).unwrap());
    }
    zone
}

fn question(apex: &str, rtype: u16) -> Vec<u8> {
    let mut message = vec![1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(name(apex).wire().to_ascii_uppercase());
    message.extend(rtype.to_be_bytes());
    message.extend([0, 1]);
    message
}

fn transfer(query: &Query<'_>, zone: &Arc<Zone>, is_short: bool) -> Transfer {
    let names = (!is_short).then(|| zone.nodes().map(|(name, _)| name.clone()).collect());
    let turn = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
    Transfer::new(query, zone.clone(), names, None, Arc::new(SystemClock), turn)
}

fn messages(zone: &Arc<Zone>, is_short: bool) -> Vec<Vec<u8>> {
    let message = question(&zone.apex().to_string(), AXFR);
    let query = Query::read(&message).ok().unwrap();
    transfer(&query, zone, is_short).collect()
}

/// The records of all messages, each with its value.
fn records(messages: &[Vec<u8>]) -> Vec<(Name, Record, Value)> {
    let read = |message: &Vec<u8>| {
        assert!(message.len() <= usize::from(u16::MAX));
        let mut asked = message.clone();
        asked[2] &= 0x7F;
        let records = Records::read(message, Query::head(&asked).ok().unwrap().end).unwrap();
        assert!(records.second.is_empty() && records.additional.is_empty() && !records.first.is_empty());
        let with_value =
            |record: Record| (record.owner(message).unwrap(), record.clone(), record.value(message).unwrap());
        records.first.into_iter().map(with_value).collect::<Vec<_>>()
    };
    messages.iter().flat_map(read).collect()
}

fn check(zone: Zone) -> usize {
    let zone = Arc::new(zone);
    let messages = messages(&zone, false);
    let mut all = records(&messages);
    let (last, first) = (all.pop().unwrap(), all.remove(0));
    for (owner, soa, value) in [&first, &last] {
        assert_eq!((owner, soa.rtype), (zone.apex(), SOA));
        assert_eq!(value.wire(), soa_of(&zone).wire());
    }
    let mut found: Vec<_> =
        all.into_iter().map(|(owner, record, value)| (owner, record.rtype, record.ttl, value)).collect();
    let mut wanted: Vec<_> = zone
        .sets()
        .into_iter()
        .flat_map(|set| {
            let (name, rtype, ttl) = (set.name, set.rtype.number(), set.ttl);
            set.values.into_iter().map(move |value| (name.clone(), rtype, ttl, value))
        })
        .collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    messages.len()
}

fn soa_of(zone: &Zone) -> Value {
    zone.node(zone.apex().wire()).unwrap().get(SOA).unwrap().values[0].clone()
}

#[test]
fn a_zone_comes_whole_with_its_soa_first_and_last() {
    let one = |text: &str| vec![text.to_owned()];
    let small = [
        ("@", "NS", one("ns")),
        ("ns", "A", one("192.0.2.1")),
        ("a.b.c", "TXT", one("x")),
        ("*.w", "MX", one("1 ns")),
    ];
    assert_eq!(check(zone("mcrun.test", &small)), 1);
    assert_eq!(check(zone("mcrun.test", &[])), 1);
    assert_eq!(check(zone(".", &[("test", "NS", one("ns.test.")), ("ns.test", "A", one("192.0.2.1"))])), 1);
    assert_eq!(check(zone("test", &[("@", "NS", one("ns.test."))])), 1);
}

#[test]
fn messages_are_full_but_never_too_large() {
    let names: Vec<String> = (0..3000).map(|number| format!("host-{number}")).collect();
    let address = || vec!["192.0.2.1".to_owned()];
    let many: Vec<_> = names.iter().map(|name| (&**name, "A", address())).collect();
    // 3,000 × (10 + 2 + 14) octets, and never more than 32 KiB in one.
    assert_eq!(check(zone("mcrun.test", &many)), 3);
    let large = [
        ("a", "TXT", vec!["x".repeat(59_000)]),
        ("b", "TXT", vec!["y".repeat(59_000)]),
        ("c", "A", address()),
    ];
    assert!(check(zone("mcrun.test", &large)) >= 3);
    let values = (0..2000).map(|number| format!("10.0.{}.{}", number / 256, number % 256)).collect();
    assert!(check(zone("mcrun.test", &[("a", "A", values)])) >= 1);
}

#[test]
fn no_more_than_one_message_is_made_ahead_and_from_one_version() {
    let names: Vec<String> = (0..5000).map(|number| format!("host-{number}")).collect();
    let sets: Vec<_> = names.iter().map(|name| (&**name, "A", vec!["192.0.2.1".to_owned()])).collect();
    let mut current = Arc::new(zone("mcrun.test", &sets));
    let message = question("mcrun.test", AXFR);
    let query = Query::read(&message).ok().unwrap();
    let mut transfer = transfer(&query, &current, false);
    let first = transfer.next().unwrap();
    // Whatever becomes of the zone meanwhile.
    Arc::make_mut(&mut current).remove(&name("host-1.mcrun.test"), RecordType::A);
    let all: Vec<_> = std::iter::once(first).chain(transfer).collect();
    assert_eq!(records(&all).len(), 5002);
}

#[test]
fn who_has_the_version_is_sent_the_soa_alone() {
    let zone = Arc::new(zone("mcrun.test", &[("a", "A", vec!["192.0.2.1".into()])]));
    assert_eq!(records(&messages(&zone, true)).len(), 1);
    for (serial, is_known) in [(7, true), (8, true), (6, false), (u32::MAX, false)] {
        let mut message = question("mcrun.test", IXFR);
        message[9] = 1;
        message.extend([0xC0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
        message.extend(serial.to_be_bytes());
        message.extend([0; 16]);
        let query = Query::read(&message).ok().unwrap();
        let records = Records::read(&message, query.end).unwrap();
        assert_eq!(is_current(&query, &records, &zone), is_known, "{serial}");
    }
}

#[test]
fn networks_are_known_in_both_families() {
    let settings: ZoneSettings = toml::from_str("transfer = [\"192.0.2.0/24\", \"2001:db8::/32\"]").unwrap();
    for (peer, may) in [
        ("192.0.2.7", true),
        ("::ffff:192.0.2.7", true),
        ("192.0.3.7", false),
        ("2001:db8::1", true),
        ("::1", false),
    ] {
        assert_eq!(settings.may_transfer(peer.parse().unwrap()), may, "{peer}");
    }
    assert!(toml::from_str::<ZoneSettings>("transfre = []").is_err());
    let error = toml::from_str::<ZoneSettings>("notify = [\"ns2.example\"]").unwrap_err().to_string();
    assert!(error.contains("`ns2.example` is not an address"), "{error}");
    let settings: ZoneSettings = toml::from_str("notify = [\"192.0.2.2\", \"[::1]:5353\"]").unwrap();
    assert_eq!(settings.notify[0].0.to_string(), "192.0.2.2:53");
}
