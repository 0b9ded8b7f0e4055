//! Whatever comes in, nothing breaks, and what goes out parses and answers the question.

use domain::base::{Message, MessageBuilder, Name, Record, Ttl};
use domain::rdata::{A, AllRecordData, Cname, Mx};
use proptest::prelude::*;

use super::*;

fn sent(name: &[u8], stream: bool) -> Sent<'_> {
    Sent { id: 0x1234, name, rtype: Rtype::A, class: Class::IN, dnssec_ok: true, stream }
}

const NAME: &[u8] = b"\x03wWw\x07eXample\x00";

/// An answer to `NAME` that may be taken.
fn good() -> Vec<u8> {
    let name = |text: &str| Name::vec_from_str(text).unwrap();
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_qr(true);
    let mut builder = builder.question();
    builder.push((Name::from_slice(NAME).unwrap(), Rtype::A)).unwrap();
    let mut builder = builder.answer();
    let record = |owner: &str| (name(owner), Class::IN, Ttl::from_secs(300));
    let (owner, class, ttl) = record("www.example");
    builder.push(Record::new(owner, class, ttl, Cname::new(name("web.example")))).unwrap();
    for last in 0..3 {
        let (owner, class, ttl) = record("web.example");
        builder.push(Record::new(owner, class, ttl, A::from_octets(192, 0, 2, last))).unwrap();
    }
    let (owner, class, ttl) = record("example");
    builder.push(Record::new(owner, class, ttl, Mx::new(1, name("mail.example")))).unwrap();
    builder.finish()
}

fn check(reply: &Reply) {
    let message = Message::from_octets(reply.message.to_vec()).unwrap();
    assert_eq!(&reply.message[12..12 + NAME.len()], NAME.to_ascii_lowercase());
    let mut records = 0;
    for record in message.iter() {
        let (record, _) = record.unwrap();
        record.to_any_record::<AllRecordData<_, _>>().ok();
        let place = usize::from(reply.ttls[records]);
        assert_eq!(reply.message[place..place + 4], record.ttl().as_secs().to_be_bytes());
        assert!(record.ttl().as_secs() <= LONGEST_TTL && reply.ttl <= record.ttl().as_secs());
        records += 1;
    }
    assert_eq!(records, reply.ttls.len());
}

#[test]
fn a_good_answer_is_read_and_loses_what_does_not_belong() {
    let reply = read(&mut good(), &sent(NAME, false)).unwrap();
    check(&reply);
    assert_eq!((reply.ttls.len(), reply.ttl, reply.dangling), (4, 300, None));
}

#[test]
fn every_part_that_is_cut_off_is_noticed() {
    let whole = good();
    for length in 0..whole.len() {
        assert!(read(&mut whole[..length].to_vec(), &sent(NAME, false)).is_err(), "{length}");
    }
}

#[test]
fn each_thing_that_must_be_repeated_is_checked() {
    let changes: [(usize, u8, Flaw); 8] = [
        (5, 0x03, Flaw::Unrelated),
        (0, 0x80, Flaw::Unrelated),
        (2, 0x80, Flaw::Unrelated),
        (2, 0x08, Flaw::Unrelated),
        (13, 0x20, Flaw::CaseLost),
        (13, 0x01, Flaw::Unrelated),
        (12 + NAME.len() + 1, 0x01, Flaw::Unrelated),
        (12 + NAME.len() + 3, 0x01, Flaw::Unrelated),
    ];
    for (place, bits, flaw) in changes {
        let mut bytes = good();
        bytes[place] ^= bits;
        assert_eq!(read(&mut bytes, &sent(NAME, false)), Err(flaw), "{place}");
    }
    let mut lost = good();
    lost[13] ^= 0x20;
    assert!(!read(&mut lost, &sent(NAME, true)).unwrap().echoed);
}

#[test]
fn an_alias_whose_end_does_not_exist_for_an_unknown_time_is_not_kept() {
    let mut bytes = good();
    // NXDOMAIN, the alias alone, and no SOA.
    bytes[3] = 3;
    bytes[7] = 1;
    assert_eq!(read(&mut bytes, &sent(NAME, false)).unwrap().ttl, 0);
}

#[test]
fn the_upper_bits_of_the_code_count() {
    let mut bytes = good();
    bytes[11] += 1;
    // BADVERS is NOERROR in its lower bits.
    bytes.extend([0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]);
    let flaw = Flaw::Refused { rcode: 16, ede: None, edns: true };
    assert_eq!(read(&mut bytes, &sent(NAME, false)), Err(flaw));
}

#[test]
fn an_answer_as_large_as_can_be_takes_no_time_that_matters() {
    let mut bytes = good();
    let mut records = 5u16;
    while bytes.len() < 65_500 {
        // Signatures of the name itself: what is compared most often.
        bytes.extend([0xc0, 12, 0, 46, 0, 1, 0, 0, 1, 0, 0, 0]);
        records += 1;
    }
    bytes[6..8].copy_from_slice(&records.to_be_bytes());
    check(&read(&mut bytes, &sent(NAME, true)).unwrap());
}

proptest! {
    #[test]
    fn no_bytes_break_it(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), stream: bool) {
        let _ = read(&mut bytes, &sent(NAME, stream));
    }

    #[test]
    fn no_change_of_a_good_answer_breaks_it(
        changes in proptest::collection::vec((0usize..400, any::<u8>()), 1..6),
        stream: bool,
    ) {
        let mut bytes = good();
        let length = bytes.len();
        for (place, value) in changes {
            // What is repeated stays, so that the rest is looked at.
            bytes[12 + NAME.len() + 4 + place % (length - 12 - NAME.len() - 4)] = value;
        }
        if let Ok(reply) = read(&mut bytes, &sent(NAME, stream)) {
            check(&reply);
        }
    }
}
