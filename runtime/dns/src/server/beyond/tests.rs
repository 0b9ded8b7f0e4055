use journal::{Journal, SystemClock};
use proptest::prelude::*;

use super::*;
use crate::driver::{Driver as _, Zone};
use crate::embedded::Store;
use crate::record::{RecordSet, RecordType};
use crate::server::signed::{Key, KeySettings};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn keys() -> Arc<Keys> {
    let settings: KeySettings =
        toml::from_str("secret = \"dns/key\"\nwrite = [\"mcrun.test/*\"]\ntransfer = [\"*\"]").unwrap();
    let secret = b"bWNydW4gdGVzdCBrZXkgb2YgMzIgb2N0ZXRzLCBvaw==";
    Arc::new(Keys::new(vec![Key::new("k", &settings, secret).unwrap()]).unwrap())
}

fn soa() -> Zone {
    Zone {
        zone: name("mcrun.test"),
        serial: 1,
        primary: name("ns.mcrun.test"),
        admin: name("hostmaster.mcrun.test"),
        refresh: 3600,
        retry: 600,
        expire: 604_800,
        minimum: 300,
    }
}

fn beyond(store: Option<Embedded>) -> Beyond {
    Beyond::new(keys(), &BTreeMap::new(), store, Arc::new(SystemClock), false).unwrap()
}

fn snapshot() -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    snapshot.put(crate::server::Zone::new(soa()));
    Arc::new(snapshot)
}

async fn embedded() -> (tempfile::TempDir, Embedded) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let driver = Embedded::new(Store::new(journal, "rift"), Vec::new());
    let servers = RecordSet::parse(&name("mcrun.test"), "@", RecordType::NS, 60, &["ns".into()]).unwrap();
    driver.put_zone(&soa(), &servers).await.unwrap();
    (folder, driver)
}

fn head(id: u16, opcode: u8, rtype: u16, counts: [u8; 3]) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([opcode << 3, 0, 0, 1]);
    counts.iter().for_each(|count| message.extend([0, *count]));
    message.extend(name("mcrun.test").wire());
    message.extend(rtype.to_be_bytes());
    message.extend([0, 1]);
    message
}

fn record(owner: &str, rtype: u16, class: u16, value: &[u8]) -> Vec<u8> {
    let mut record = name(owner).wire().to_vec();
    record.extend(rtype.to_be_bytes());
    record.extend(class.to_be_bytes());
    record.extend([0; 4]);
    record.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    record.extend(value);
    record
}

fn signed(mut message: Vec<u8>) -> Vec<u8> {
    let key = keys().get(&name("k")).unwrap().clone();
    Session::opening(key).sign(&mut message, seconds(&SystemClock));
    message
}

/// Adds an address to a name that has to be free.
fn adding(id: u16, owner: &str) -> Vec<u8> {
    let mut message = head(id, opcode::UPDATE, 6, [1, 1, 0]);
    message.extend(record(owner, 255, 254, &[]));
    message.extend(record(owner, 1, 1, &[192, 0, 2, 1]));
    signed(message)
}

async fn code(beyond: &Beyond, message: &[u8]) -> Option<u8> {
    match beyond.answer(&snapshot(), message, PEER, false).await {
        Outcome::One(answer) => Some(answer[3] & 0x0F),
        _ => None,
    }
}

#[tokio::test]
async fn an_update_that_comes_again_is_answered_as_before_and_made_once() {
    let (_folder, driver) = embedded().await;
    let beyond = beyond(Some(driver.clone()));
    let update = adding(1, "x.mcrun.test");
    assert_eq!(code(&beyond, &update).await, Some(rcode::NOERROR));
    let serial = driver.zone(&name("mcrun.test")).await.unwrap().unwrap().serial;
    assert_eq!(code(&beyond, &update).await, Some(rcode::NOERROR));
    assert_eq!(code(&beyond, &adding(2, "x.mcrun.test")).await, Some(rcode::YXDOMAIN));
    assert_eq!(driver.zone(&name("mcrun.test")).await.unwrap().unwrap().serial, serial);
}

#[tokio::test]
async fn of_many_that_need_a_free_name_one_has_it_and_none_is_lost() {
    let (_folder, driver) = embedded().await;
    let beyond = Arc::new(beyond(Some(driver.clone())));
    let first = driver.zone(&name("mcrun.test")).await.unwrap().unwrap().serial;
    let mut all = Vec::new();
    for number in 0..40_u16 {
        let (beyond, driver) = (beyond.clone(), driver.clone());
        all.push(tokio::spawn(async move {
            // A writer of another kind at the same time.
            if number % 4 == 0 {
                let owner = format!("other-{number}");
                let set =
                    RecordSet::parse(&name("mcrun.test"), &owner, RecordType::A, 60, &["192.0.2.1".into()]);
                driver.change(&name("mcrun.test"), &crate::Change::putting(set.unwrap())).await.unwrap();
                return true;
            }
            let owner =
                if number % 2 == 0 { "same.mcrun.test".into() } else { format!("n{number}.mcrun.test") };
            code(&beyond, &adding(number, &owner)).await == Some(rcode::NOERROR)
        }));
    }
    let mut made = 0;
    for one in all {
        made += u32::from(one.await.unwrap());
    }
    // 20 names of their own, one of ten that want the same, ten by the other writer.
    assert_eq!(made, 31);
    assert_eq!(driver.zone(&name("mcrun.test")).await.unwrap().unwrap().serial, first + made);
}

#[tokio::test]
async fn what_is_not_for_us_is_told_so() {
    let (_folder, driver) = embedded().await;
    let beyond = beyond(Some(driver));
    let elsewhere = {
        let mut message = head(1, opcode::UPDATE, 6, [0, 0, 0]);
        message[13] = b'x';
        message
    };
    for (message, wanted) in [
        (head(1, opcode::NOTIFY, 6, [0, 0, 0]), rcode::NOTAUTH),
        (signed(head(1, opcode::NOTIFY, 6, [0, 0, 0])), rcode::NOTAUTH),
        (head(1, 2, 6, [0, 0, 0]), rcode::NOTIMP),
        (head(1, opcode::UPDATE, 6, [0, 0, 0]), rcode::REFUSED),
        (signed(head(1, opcode::UPDATE, 6, [0, 0, 0])), rcode::NOERROR),
        (signed(head(1, opcode::UPDATE, 1, [0, 0, 0])), rcode::FORMERR),
        (signed(elsewhere), rcode::NOTAUTH),
        (head(1, opcode::QUERY, AXFR, [0, 0, 0]), rcode::FORMERR),
        (head(1, opcode::QUERY, IXFR, [0, 0, 0]), rcode::REFUSED),
        (signed(head(1, opcode::QUERY, IXFR, [0, 0, 0])), rcode::NOERROR),
    ] {
        assert_eq!(code(&beyond, &message).await, Some(wanted), "{message:?}");
    }
    // An answer is not answered.
    let mut answer = head(1, opcode::UPDATE, 6, [0, 0, 0]);
    answer[2] |= 0x80;
    assert_eq!(code(&beyond, &answer).await, None);
}

#[tokio::test]
async fn transfers_at_once_are_bounded_and_make_room_when_they_end() {
    let beyond = beyond(None);
    let message = signed(head(1, opcode::QUERY, AXFR, [0, 0, 0]));
    let mut all = Vec::new();
    for _ in 0..MOST_TRANSFERS {
        let Outcome::Many(transfer) = beyond.answer(&snapshot(), &message, PEER, true).await else {
            panic!("it is refused")
        };
        all.push(transfer);
    }
    let Outcome::One(answer) = beyond.answer(&snapshot(), &message, PEER, true).await else {
        panic!("it is begun")
    };
    assert_eq!(answer[3] & 0x0F, rcode::SERVFAIL);
    all.pop();
    assert!(matches!(beyond.answer(&snapshot(), &message, PEER, true).await, Outcome::Many(_)));
}

fn run(message: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let beyond = beyond(None);
    for is_stream in [false, true] {
        let outcome = runtime.block_on(beyond.answer(&snapshot(), message, PEER, is_stream));
        if let Outcome::Many(answers) = outcome {
            assert!(answers.count() > 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_octets_are_too_strange_to_answer(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        run(&octets);
    }

    #[test]
    fn no_change_of_a_message_is_too_strange_to_answer(
        which in 0..4_usize,
        is_signed_last in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length in any::<prop::sample::Index>(),
    ) {
        let mut update = head(1, opcode::UPDATE, 6, [1, 1, 0]);
        update.extend(record("x.mcrun.test", 255, 254, &[]));
        update.extend(record("x.mcrun.test", 15, 1, b"\x00\x0a\x01x\xc0\x0c"));
        let mut message = match which {
            0 => update,
            1 => head(1, opcode::QUERY, AXFR, [0, 0, 0]),
            2 => head(1, opcode::QUERY, 1, [0, 0, 0]),
            _ => head(1, opcode::NOTIFY, 6, [0, 0, 0]),
        };
        // Changed before it is signed it gets beyond the signature, changed after that it tries the signature itself.
        if !is_signed_last {
            message = signed(message);
        }
        for (at, octet) in changes {
            let at = at.index(message.len());
            message[at] = octet;
        }
        if is_signed_last {
            message = signed(message);
        } else {
            message.truncate(length.index(message.len() * 4).max(1));
        }
        run(&message);
    }
}

/// EDNS of `version` of a client that wants signatures.
fn opt(version: u8) -> [u8; 11] {
    [0, 0, 41, 4, 0xD0, 0, version, 0x80, 0, 0, 0]
}

#[tokio::test]
async fn what_has_another_opcode_or_edns_is_told_so_whatever_it_holds() {
    let beyond = beyond(None);
    let mut header = [0; 12];
    header[2] = 15 << 3;
    assert_eq!(code(&beyond, &header).await, Some(rcode::NOTIMP));
    let mut garbage = head(1, 15, 6, [9, 9, 9]);
    garbage.push(0xC0);
    assert_eq!(code(&beyond, &garbage).await, Some(rcode::NOTIMP));
    header[2] = opcode::UPDATE << 3;
    assert_eq!(code(&beyond, &header).await, Some(rcode::FORMERR));

    for (version, wanted) in [(0, (rcode::REFUSED, 0)), (1, (0, 1))] {
        let mut update = head(2, opcode::UPDATE, 6, [0, 0, 1]);
        update.extend(opt(version));
        let Outcome::One(answer) = beyond.answer(&snapshot(), &update, PEER, false).await else {
            panic!("it is answered")
        };
        let edns = &answer[answer.len() - 11..];
        // The upper bits of the code, the version, and what the client wants, are in EDNS.
        assert_eq!((answer[3] & 0x0F, edns[5]), wanted);
        assert_eq!((edns[2], edns[6], edns[7]), (41, 0, 0x80));
    }
}
