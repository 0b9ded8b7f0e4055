use super::*;

/// A question for `name`, which is dotted, and whatever comes after it.
pub(crate) fn message(flags: [u8; 2], counts: [u8; 4], name: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut message = vec![0xAB, 0xCD, flags[0], flags[1]];
    counts.iter().for_each(|count| message.extend([0, *count]));
    message.extend(name);
    message.extend(rest);
    message
}

const NAME: &[u8] = b"\x05HeLLo\x04test\0";
const A_IN: &[u8] = &[0, 1, 0, 1];

fn code(message: &[u8]) -> Option<Refusal> {
    Query::read(message).err()
}

#[test]
fn a_question_is_read_in_lower_case() {
    let bytes = message([1, 0x10], [1, 0, 0, 0], NAME, A_IN);
    let query = Query::read(&bytes).ok().unwrap();
    assert_eq!(query.name.wire(), b"\x05hello\x04test\0");
    assert_eq!((query.rtype, query.class, query.name.labels()), (1, 1, 3));
    assert_eq!(query.name.from(1), b"\x04test\0");
    assert!(query.wants_recursion() && query.checks_itself());
    assert_eq!(query.largest_answer(), 512);
}

#[test]
fn edns_says_how_large_an_answer_may_be() {
    let opt = |size: u16, version: u8, flags: u8| {
        let mut rest = A_IN.to_vec();
        rest.extend([0, 0, 41]);
        rest.extend(size.to_be_bytes());
        rest.extend([0, version, flags, 0, 0, 0]);
        message([0, 0], [1, 0, 0, 1], NAME, &rest)
    };
    let size = |bytes: &[u8]| Query::read(bytes).ok().unwrap().largest_answer();
    assert_eq!(size(&opt(4096, 0, 0)), 1232);
    assert_eq!(size(&opt(0, 0, 0)), 512);
    assert!(Query::read(&opt(1232, 0, 0x80)).ok().unwrap().edns.unwrap().wants_signatures);
    assert_eq!(code(&opt(4096, 1, 0)), Some(Refusal::Code(rcode::BADVERS)));
}

#[test]
fn what_is_no_question_is_refused_or_not_answered_at_all() {
    let formerr = Some(Refusal::Code(rcode::FORMERR));
    assert_eq!(code(b""), Some(Refusal::Silence));
    assert_eq!(code(&[0; 11]), Some(Refusal::Silence));
    assert_eq!(code(&message([0x80, 0], [1, 0, 0, 0], NAME, A_IN)), Some(Refusal::Silence));
    assert_eq!(code(&message([0, 0], [0, 0, 0, 0], b"", b"")), formerr);
    assert_eq!(code(&message([0, 0], [2, 0, 0, 0], NAME, A_IN)), formerr);
    assert_eq!(code(&message([0, 0], [1, 1, 0, 0], NAME, A_IN)), formerr);
    assert_eq!(code(&message([0, 0], [1, 0, 0, 0], NAME, b"\0")), formerr);
    assert_eq!(code(&message([0, 0], [1, 0, 0, 0], NAME, &[0, 1, 0, 1, 9])), formerr);
    assert_eq!(code(&message([0, 0], [1, 0, 0, 1], NAME, A_IN)), formerr);
    let notimp = Some(Refusal::Code(rcode::NOTIMP));
    assert_eq!(code(&message([0x10, 0], [1, 0, 0, 0], NAME, A_IN)), notimp);
    assert_eq!(code(&message([0x78, 0], [0, 0, 0, 0], b"", b"")), notimp);
    // A name that points to itself, one beyond its end, one that is too long.
    assert_eq!(code(&message([0, 0], [1, 0, 0, 0], &[0xC0, 12], A_IN)), formerr);
    assert_eq!(code(&message([0, 0], [1, 0, 0, 0], &[63, 1, 2], b"")), formerr);
    let long: Vec<u8> = [[1, b'a']; 128].concat().into_iter().chain([0]).collect();
    assert_eq!(code(&message([0, 0], [1, 0, 0, 0], &long, A_IN)), formerr);
}

#[test]
fn no_cut_of_a_question_is_read_as_one() {
    let mut rest = A_IN.to_vec();
    rest.extend([0, 0, 41, 4, 0xD0, 0, 0, 0, 0, 0, 0]);
    let whole = message([1, 0], [1, 0, 0, 1], NAME, &rest);
    assert!(Query::read(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(Query::read(&whole[..length]).is_err(), "{length}");
    }
}
