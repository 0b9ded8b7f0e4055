//! Signatures against hickory's own: what is signed here verifies there, and the other way round.

use hickory_proto::rr::rdata::tsig::{TSIG, TsigError, make_tsig_record};

use hickory_proto::rr::{Name as OtherName, TSigResponseContext, TSigner};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use super::*;

const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn key(algorithm: Algorithm) -> Key {
    Key::new(&Name::absolute("key.mcrun.test").unwrap(), algorithm, SECRET.to_vec()).unwrap()
}

fn other(algorithm: Algorithm) -> TSigner {
    let name = OtherName::from_ascii("key.mcrun.test.").unwrap();
    TSigner::new(SECRET.to_vec(), algorithm.hash(), name, FUDGE).unwrap()
}

/// A question for `mcrun.test`, and its answer.
fn question() -> Vec<u8> {
    [&[0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x05mcrun\x04test\0\0\x06\0\x01"].concat()
}

fn answer() -> Vec<u8> {
    let mut answer = question();
    answer[2] = 0x84;
    answer
}

fn with(mut message: Vec<u8>, record: &impl BinEncodable) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.emit(&mut BinEncoder::new(&mut bytes)).unwrap();
    message.extend_from_slice(&bytes);
    message[11] += 1;
    message
}

/// The answer as hickory signs it at `time`.
fn signed(chain: &Chain, time: u64, error: Option<TsigError>) -> Vec<u8> {
    let mac = chain.before.clone();
    let context = TSigResponseContext::new(0x1234, time, other(Algorithm::Sha256), mac, error);
    with(answer(), &*context.sign(&answer()).unwrap())
}

/// The next message of a chain, signed as RFC 8945, section 5.3.1, says.
fn next(chain: &Chain, unsigned: &[Vec<u8>], time: u64) -> Vec<u8> {
    let signer = other(Algorithm::Sha256);
    let mut tbs = length(&chain.before).to_vec();
    tbs.extend_from_slice(&chain.before);
    tbs.extend(unsigned.concat());
    tbs.extend(answer());
    timers(time, FUDGE, &mut tbs);
    let mac = signer.sign(&tbs).unwrap();
    let tsig = TSIG::new(TsigAlgorithm::HmacSha256, time, FUDGE, mac, 0x1234, None, Vec::new());
    with(answer(), &make_tsig_record(signer.signer_name().clone(), tsig))
}

fn asked() -> Chain {
    key(Algorithm::Sha256).sign(&mut question(), NOW).unwrap()
}

#[test]
fn what_is_signed_here_is_believed_there() {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
        let mut message = question();
        key(algorithm).sign(&mut message, NOW).unwrap();
        assert!(message.len() <= question().len() + LARGEST_SIGNATURE);
        let (_, time, _) = other(algorithm).verify_message_byte(&message, None, true).unwrap();
        assert_eq!(time, NOW);
    }
}

#[test]
fn what_is_signed_there_is_believed_here_within_its_time() {
    let mut chain = asked();
    assert_eq!(chain.verify(&signed(&chain, NOW + 3, None)), Ok(true));
    for (time, doubt) in [
        (NOW + 301, "another time"),
        (NOW - 301, "another time"),
        (0, "another time"),
        (1 << 47, "another time"),
    ] {
        let mut chain = asked();
        let Err(Doubt::Wrong(why)) = chain.verify(&signed(&chain, time, None)) else { panic!("{time}") };
        assert!(why.contains(doubt), "{why}");
    }
}

#[test]
fn each_changed_octet_is_noticed() {
    let whole = signed(&asked(), NOW, None);
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        let verdict = asked().verify(&changed);
        // The id is what the signature says it is; names are the same in either case.
        let names_case = changed[at].eq_ignore_ascii_case(&whole[at]);
        assert!(at < 2 || names_case || verdict.is_err(), "{at}: {verdict:?}");
    }
    for length in 0..whole.len() {
        assert!(asked().verify(&whole[..length]).is_err(), "{length}");
    }
    let longer = [whole, vec![0]].concat();
    assert!(asked().verify(&longer).is_err());
}

#[test]
fn what_a_server_says_of_a_signature_is_told() {
    assert_eq!(asked().verify(&answer()), Err(Doubt::Unsigned));
    let unknown =
        TSigResponseContext::unknown_key(0x1234, NOW, OtherName::from_ascii("key.mcrun.test.").unwrap());
    let told = with(answer(), &*unknown.sign(&answer()).unwrap());
    assert_eq!(asked().verify(&told), Err(Doubt::Told(TsigRcode::BADKEY)));
    let bad = TSigResponseContext::bad_signature(0x1234, NOW, other(Algorithm::Sha256));
    let told = with(answer(), &*bad.sign(&answer()).unwrap());
    assert_eq!(asked().verify(&told), Err(Doubt::Told(TsigRcode::BADSIG)));
    let chain = asked();
    let told = signed(&chain, NOW, Some(TsigError::BadTime));
    assert!(matches!(asked().verify(&told), Err(Doubt::Clock(_))));
}

#[test]
fn messages_in_between_need_no_signature_and_are_covered_by_the_next() {
    let mut chain = asked();
    assert_eq!(chain.verify(&signed(&chain, NOW, None)), Ok(true));
    assert_eq!(chain.verify(&answer()), Ok(false));
    assert_eq!(chain.verify(&answer()), Ok(false));
    let right = next(&chain, &[answer(), answer()], NOW + 1);
    let wrong = next(&chain, &[answer()], NOW + 1);
    assert!(matches!(chain.verify(&wrong), Err(Doubt::Wrong(_))));
    assert_eq!(chain.verify(&right), Ok(true));
    let earlier = next(&chain, &[], NOW);
    assert_eq!(chain.verify(&earlier), Err(Doubt::Wrong("it is signed before the message ahead of it")));
    for _ in 0..MOST_UNSIGNED {
        assert_eq!(chain.verify(&answer()), Ok(false));
    }
    assert_eq!(chain.verify(&answer()), Err(Doubt::Unsigned));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_is_not_believed(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        proptest::prop_assert!(asked().verify(&bytes).is_err());
    }
}
