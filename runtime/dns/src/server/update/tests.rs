use proptest::prelude::*;

use super::*;
use crate::record::RecordSet;

const NONE: u16 = CLASS_NONE;
const IN: u16 = CLASS_IN;

/// A record of a message: owner, type, class, time to live, value.
type Raw = (&'static str, u16, u16, u32, Vec<u8>);

fn name(text: &str) -> Name {
    Name::within(text, &Name::absolute("mcrun.test").unwrap()).unwrap()
}

fn message(prerequisites: &[Raw], steps: &[Raw]) -> Vec<u8> {
    let mut message = vec![1, 2, opcode::UPDATE << 3, 0, 0, 1];
    for count in [prerequisites.len(), steps.len(), 0] {
        message.extend(u16::try_from(count).unwrap().to_be_bytes());
    }
    message.extend(name("@").wire());
    message.extend([0, 6, 0, 1]);
    for (owner, rtype, class, ttl, value) in prerequisites.iter().chain(steps) {
        message.extend(name(owner).wire());
        message.extend(rtype.to_be_bytes());
        message.extend(class.to_be_bytes());
        message.extend(ttl.to_be_bytes());
        message.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        message.extend(value);
    }
    message
}

fn soa() -> driver::Zone {
    driver::Zone {
        zone: name("@"),
        serial: 10,
        primary: name("ns"),
        admin: name("hostmaster"),
        refresh: 3600,
        retry: 600,
        expire: 604_800,
        minimum: 300,
    }
}

fn set(at: &str, rtype: &str, values: &[&str]) -> RecordSet {
    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    RecordSet::parse(&name("@"), at, rtype.parse().unwrap(), 300, &values).unwrap()
}

fn records() -> Vec<RecordSet> {
    vec![
        set("@", "NS", &["ns", "ns2"]),
        set("ns", "A", &["192.0.2.53"]),
        set("www", "CNAME", &["ns"]),
        set("x", "A", &["192.0.2.1", "192.0.2.2"]),
        set("x", "TXT", &["one"]),
        set("tree", "DNAME", &["other.example."]),
    ]
}

fn a(last: u8) -> Vec<u8> {
    vec![192, 0, 2, last]
}

fn target(text: &str) -> Vec<u8> {
    name(text).wire().to_vec()
}

fn soa_with(serial: u32) -> Vec<u8> {
    crate::server::zone::soa_value(&driver::Zone { serial, refresh: 77, ..soa() })
}

/// What an update makes of the records: texts of the sets that it puts, then what it removes.
fn made(prerequisites: &[Raw], steps: &[Raw]) -> Result<Vec<String>, u8> {
    let revision = Update::read(&message(prerequisites, steps))?.revise_records(&soa(), &records())?;
    let put = revision.change.put.iter().map(|set| {
        format!("{} {} {} {}", set.name.in_zone(&name("@")), set.ttl, set.rtype, set.texts().join(" "))
    });
    let removed =
        revision.change.remove.iter().map(|(at, rtype)| format!("{} {rtype}", at.in_zone(&name("@"))));
    Ok(put.chain(removed).chain(revision.soa.map(|soa| format!("SOA {}", soa.serial))).collect())
}

fn steps(steps: &[Raw]) -> Vec<String> {
    made(&[], steps).unwrap()
}

#[test]
fn records_are_added_to_sets_which_take_the_newest_time_to_live() {
    assert_eq!(steps(&[("x", 1, IN, 60, a(3))]), ["x 60 A 192.0.2.1 192.0.2.2 192.0.2.3"]);
    assert_eq!(steps(&[("x", 1, IN, 60, a(1))]), ["x 60 A 192.0.2.1 192.0.2.2"]);
    assert_eq!(steps(&[("x", 1, IN, 300, a(1))]), [""; 0]);
    assert_eq!(steps(&[("y", 1, IN, 60, a(1)), ("y", 1, IN, 0, a(2))]), ["y 0 A 192.0.2.1 192.0.2.2"]);
    assert_eq!(steps(&[("y", 1, IN, u32::MAX, a(1))]), ["y 0 A 192.0.2.1"]);
}

#[test]
fn records_are_removed_by_value_type_and_name() {
    assert_eq!(steps(&[("x", 1, NONE, 0, a(1))]), ["x 300 A 192.0.2.2"]);
    assert_eq!(steps(&[("x", 1, NONE, 0, a(1)), ("x", 1, NONE, 0, a(2))]), ["x A"]);
    assert_eq!(steps(&[("x", 1, NONE, 0, a(9))]), [""; 0]);
    assert_eq!(steps(&[("x", 1, CLASS_ANY, 0, vec![])]), ["x A"]);
    assert_eq!(steps(&[("x", ANY, CLASS_ANY, 0, vec![])]), ["x A", "x TXT"]);
    assert_eq!(steps(&[("nothing", ANY, CLASS_ANY, 0, vec![])]), [""; 0]);
    // Steps are made one after the other.
    let all = [("x", ANY, CLASS_ANY, 0, vec![]), ("x", 1, IN, 300, a(1))];
    assert_eq!(steps(&all), ["x 300 A 192.0.2.1", "x TXT"]);
}

#[test]
fn the_zone_keeps_its_soa_and_a_name_server() {
    assert_eq!(steps(&[("@", ANY, CLASS_ANY, 0, vec![])]), [""; 0]);
    assert_eq!(steps(&[("@", 2, CLASS_ANY, 0, vec![])]), [""; 0]);
    assert_eq!(steps(&[("@", 6, CLASS_ANY, 0, vec![])]), [""; 0]);
    assert_eq!(steps(&[("@", 6, NONE, 0, soa_with(10))]), [""; 0]);
    let both = [("@", 2, NONE, 0, target("ns")), ("@", 2, NONE, 0, target("ns2"))];
    assert_eq!(steps(&both), ["@ 300 NS ns2.mcrun.test."]);
    assert_eq!(steps(&[("@", 16, IN, 60, b"\x01x".to_vec()), ("@", ANY, CLASS_ANY, 0, vec![])]), [""; 0]);
}

#[test]
fn another_soa_counts_where_its_serial_is_further_on() {
    assert_eq!(steps(&[("@", 6, IN, 60, soa_with(11))]), ["SOA 11"]);
    assert_eq!(steps(&[("@", 6, IN, 60, soa_with(10 + (1 << 31) - 1))]), ["SOA 2147483657"]);
    for serial in [10, 9, 0, 10 + (1 << 31), u32::MAX] {
        assert_eq!(steps(&[("@", 6, IN, 60, soa_with(serial))]), [""; 0], "{serial}");
    }
    assert_eq!(steps(&[("x", 6, IN, 60, soa_with(11))]), [""; 0]);
}

#[test]
fn what_cannot_stand_beside_a_cname_is_left_out() {
    assert_eq!(steps(&[("www", 1, IN, 60, a(1))]), [""; 0]);
    assert_eq!(steps(&[("x", 5, IN, 60, target("ns"))]), [""; 0]);
    assert_eq!(steps(&[("@", 5, IN, 60, target("ns"))]), [""; 0]);
    assert_eq!(steps(&[("www", 5, IN, 60, target("x"))]), ["www 60 CNAME x.mcrun.test."]);
    let swap = [("www", 5, CLASS_ANY, 0, vec![]), ("www", 1, IN, 60, a(1))];
    assert_eq!(steps(&swap), ["www 60 A 192.0.2.1", "www CNAME"]);
    assert_eq!(made(&[], &[("tree", 39, IN, 60, target("x"))]), Err(rcode::REFUSED));
}

#[test]
fn every_form_of_prerequisite_has_its_code() {
    let ask = |raw: Raw| made(&[raw], &[]).err().unwrap_or(0);
    let (any, none) = (CLASS_ANY, CLASS_NONE);
    for (raw, code) in [
        (("x", ANY, any, 0, vec![]), 0),
        (("y", ANY, any, 0, vec![]), rcode::NXDOMAIN),
        (("y", ANY, none, 0, vec![]), 0),
        (("x", ANY, none, 0, vec![]), rcode::YXDOMAIN),
        (("x", 1, any, 0, vec![]), 0),
        (("x", 28, any, 0, vec![]), rcode::NXRRSET),
        (("x", 28, none, 0, vec![]), 0),
        (("x", 1, none, 0, vec![]), rcode::YXRRSET),
        (("@", 6, any, 0, vec![]), 0),
        (("x", 6, any, 0, vec![]), rcode::NXRRSET),
        (("x", 16, IN, 0, b"\x03one".to_vec()), 0),
        (("x", 16, IN, 0, b"\x03two".to_vec()), rcode::NXRRSET),
        (("x", 1, IN, 0, a(1)), rcode::NXRRSET),
        (("@", 6, IN, 0, crate::server::zone::soa_value(&soa())), 0),
        (("@", 6, IN, 0, soa_with(10)), rcode::NXRRSET),
        (("x", 1, IN, 1, a(1)), rcode::FORMERR),
        (("x", 1, any, 1, vec![]), rcode::FORMERR),
        (("x", 1, any, 0, a(1)), rcode::FORMERR),
        (("x", 1, none, 0, a(1)), rcode::FORMERR),
        (("x", 1, 3, 0, a(1)), rcode::FORMERR),
        (("x", ANY, IN, 0, a(1)), rcode::FORMERR),
        (("x", 252, any, 0, vec![]), rcode::FORMERR),
        (("x", 1, IN, 0, vec![1, 2, 3]), rcode::FORMERR),
    ] {
        assert_eq!(ask(raw.clone()), code, "{raw:?}");
    }
    assert!(made(&[("x", 1, IN, 0, a(2)), ("x", 1, IN, 0, a(1))], &[]).is_ok());
    // Names in values are the same in upper and lower case.
    let servers = [("@", 2, IN, 0, target("ns").to_ascii_uppercase()), ("@", 2, IN, 0, target("ns2"))];
    assert!(made(&servers, &[]).is_ok());
}

#[test]
fn a_message_that_is_no_update_is_told_why() {
    for (raw, code) in [
        (("x", 1, IN, 60, vec![]), rcode::FORMERR),
        (("x", 1, CLASS_ANY, 1, vec![]), rcode::FORMERR),
        (("x", 1, CLASS_ANY, 0, a(1)), rcode::FORMERR),
        (("x", 1, NONE, 1, a(1)), rcode::FORMERR),
        (("x", 1, NONE, 0, vec![]), rcode::FORMERR),
        (("x", ANY, NONE, 0, vec![]), rcode::FORMERR),
        (("x", ANY, IN, 0, a(1)), rcode::FORMERR),
        (("x", 252, CLASS_ANY, 0, vec![]), rcode::FORMERR),
        (("x", 250, IN, 0, a(1)), rcode::FORMERR),
        (("x", 1, 3, 0, a(1)), rcode::FORMERR),
    ] {
        assert_eq!(made(&[], std::slice::from_ref(&raw)), Err(code), "{raw:?}");
    }
    let read = |how: &dyn Fn(&mut Vec<u8>)| {
        let mut message = message(&[], &[("x", 1, IN, 60, a(1))]);
        how(&mut message);
        Update::read(&message).err()
    };
    let end = 12 + name("@").wire().len();
    assert_eq!(read(&|_| {}), None);
    assert_eq!(read(&|message| message[2] = 0), Some(rcode::FORMERR));
    assert_eq!(read(&|message| message[end + 1] = 1), Some(rcode::FORMERR));
    assert_eq!(read(&|message| message[end + 3] = 3), Some(rcode::NOTAUTH));
    assert_eq!(read(&|message| message.push(0)), Some(rcode::FORMERR));
    assert_eq!(read(&|message| message[9] = 2), Some(rcode::FORMERR));
    assert_eq!(read(&|message| message[8] = 0x20), Some(rcode::REFUSED));
    // `x.mcrun.test` becomes `x.ncrun.test`.
    assert_eq!(read(&|message| message[end + 4 + 3] = b'n'), Some(rcode::NOTZONE));
    let whole = message(&[("x", 1, IN, 0, a(1))], &[("x", 1, IN, 60, a(1))]);
    assert!((0..whole.len()).all(|length| Update::read(&whole[..length]).is_err()));
}

#[test]
fn a_set_of_thousands_is_refused_and_takes_no_time() {
    let many: Vec<Raw> = (0..3000_u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            ("big", 1, IN, 60, vec![10, 0, high, low])
        })
        .collect();
    assert_eq!(made(&[], &many), Err(rcode::REFUSED));
}

/// A zone as RFC 2136 sees it: one list of records.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model(Vec<(Name, u16, u32, Vec<u8>)>);

impl Model {
    fn of(records: &[RecordSet]) -> Self {
        let all = records.iter().flat_map(|set| {
            set.values
                .iter()
                .map(|value| (set.name.clone(), set.rtype.number(), set.ttl, value.wire().to_vec()))
        });
        Self(all.collect()).sorted()
    }

    fn sorted(mut self) -> Self {
        self.0.sort();
        self
    }

    /// Section 3.4.2.7, line by line.
    fn step(&mut self, (owner, rtype, class, ttl, value): &Raw) {
        let (owner, apex) = (name(owner), name("@"));
        let here = |record: &(Name, u16, u32, Vec<u8>)| record.0 == owner;
        match *class {
            IN => {
                let is_alias = |record: &(Name, u16, u32, Vec<u8>)| here(record) && record.1 == 5;
                if *rtype == 5 {
                    if owner == apex || self.0.iter().any(|record| here(record) && record.1 != 5) {
                        return;
                    }
                    self.0.retain(|record| !here(record));
                } else if self.0.iter().any(is_alias) {
                    return;
                }
                self.0.retain(|record| !(here(record) && record.1 == *rtype && record.3 == *value));
                self.0.push((owner.clone(), *rtype, *ttl, value.clone()));
                for record in self.0.iter_mut().filter(|record| record.0 == owner && record.1 == *rtype) {
                    record.2 = *ttl;
                }
            }
            CLASS_ANY if *rtype == ANY => {
                self.0.retain(|record| !here(record) || (owner == apex && record.1 == 2))
            }
            CLASS_ANY => {
                if !(owner == apex && *rtype == 2) {
                    self.0.retain(|record| !(here(record) && record.1 == *rtype));
                }
            }
            _ => {
                let servers = self.0.iter().filter(|record| record.0 == apex && record.1 == 2).count();
                if !(owner == apex && *rtype == 2 && servers == 1) {
                    self.0.retain(|record| !(here(record) && record.1 == *rtype && record.3 == *value));
                }
            }
        }
    }
}

fn any_step() -> impl Strategy<Value = Raw> {
    let owners = prop::sample::select(vec!["@", "x", "y", "www", "a.b"]);
    let values = prop::sample::select(vec![
        (1, a(1)),
        (1, a(2)),
        (1, a(3)),
        (16, b"\x01x".to_vec()),
        (16, b"\x01y".to_vec()),
        (5, target("x")),
        (5, target("y")),
        (2, target("ns")),
        (2, target("ns2")),
        (2, target("ns3")),
        (15, [vec![0, 10], target("x")].concat()),
    ]);
    (owners, values, 0..5_u8, 0..4_u32).prop_map(|(owner, (rtype, value), kind, ttl)| match kind {
        0 | 1 => (owner, rtype, IN, ttl * 100, value),
        2 => (owner, rtype, NONE, 0, value),
        3 => (owner, rtype, CLASS_ANY, 0, vec![]),
        _ => (owner, ANY, CLASS_ANY, 0, vec![]),
    })
}

proptest! {
    #[test]
    fn any_update_makes_what_the_rules_read_aloud_do(raws in prop::collection::vec(any_step(), 0..20)) {
        let revision = Update::read(&message(&[], &raws)).unwrap().revise_records(&soa(), &records()).unwrap();
        let mut after = records();
        after.retain(|set| !revision.change.remove.contains(&(set.name.clone(), set.rtype)));
        after.retain(|set| !revision.change.put.iter().any(|put| (&put.name, put.rtype) == (&set.name, set.rtype)));
        after.extend(revision.change.put.clone());
        let mut model = Model::of(&records());
        raws.iter().for_each(|raw| model.step(raw));
        prop_assert_eq!(Model::of(&after), model.sorted());
        // Nothing is written that stays as it is.
        for put in &revision.change.put {
            prop_assert!(!records().contains(put));
        }
    }

    #[test]
    fn no_octets_are_too_strange_to_read(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Update::read(&octets);
    }

    #[test]
    fn no_change_of_an_update_is_too_strange_to_read(
        raws in prop::collection::vec(any_step(), 1..6),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut message = message(&raws[..1], &raws[1..]);
        for (at, octet) in changes {
            let at = at.index(message.len());
            message[at] = octet;
        }
        if let Ok(update) = Update::read(&message) {
            let _ = update.revise_records(&soa(), &records());
        }
    }
}
