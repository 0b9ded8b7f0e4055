//! Owns the query that goes to an upstream: an id and a case that nobody can guess, EDNS, and padding under TLS.

use domain::base::iana::{Class, Rtype};
use rustix::rand::{GetRandomFlags, getrandom};

use super::question::{LONGEST_NAME, Question};
use super::stored::OUR_LIMIT;

/// Queries under TLS are padded to multiples of this, RFC 8467 section 4.1.
const PADDED_TO: usize = 128;
const PADDING: u16 = 12;
const OPTION_HEAD: usize = 4;
const ARCOUNT: usize = 11;

/// What upstreams are asked; the same for all clients that share the answer.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    pub(super) name: Box<[u8]>,
    pub(super) rtype: Rtype,
    pub(super) class: Class,
    pub(super) dnssec_ok: bool,
    pub(super) checking_disabled: bool,
}

impl Asking {
    pub(super) fn of(question: &Question<'_>) -> Self {
        Self {
            name: question.name.into(),
            rtype: question.rtype,
            class: question.class,
            dnssec_ok: question.dnssec_ok,
            checking_disabled: question.checking_disabled,
        }
    }
}

/// How a query is put.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Whether the case of the name is random: 0x20.
    pub(super) cased: bool,
    /// Whether it has an OPT record.
    pub(super) edns: bool,
    /// Whether its length is hidden.
    pub(super) padded: bool,
}

/// A query that is ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) id: u16,
    pub(super) name: Box<[u8]>,
    pub(super) message: Vec<u8>,
}

impl Request {
    /// `None` where the system has no random numbers: then nothing is asked.
    pub(super) fn new(asking: &Asking, manner: Manner) -> Option<Self> {
        let mut chance = [0; 2 + LONGEST_NAME / 8 + 1];
        let filled = getrandom(&mut chance, GetRandomFlags::empty()).ok()?;
        if filled < chance.len() {
            return None;
        }
        let (id, coins) = chance.split_at(2);
        let id = u16::from_be_bytes([id[0], id[1]]);
        let name = if manner.cased { with_case(&asking.name, coins) } else { asking.name.clone() };
        let message = compose(asking, id, &name, manner);
        Some(Self { id, name, message })
    }
}

fn with_case(name: &[u8], coins: &[u8]) -> Box<[u8]> {
    let coin = |index: usize| coins.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
    let turned = |(index, byte): (usize, &u8)| if coin(index) { byte.to_ascii_uppercase() } else { *byte };
    name.iter().enumerate().map(turned).collect()
}

fn compose(asking: &Asking, id: u16, name: &[u8], manner: Manner) -> Vec<u8> {
    let checking = if asking.checking_disabled { 0x10 } else { 0 };
    let [high, low] = id.to_be_bytes();
    let mut message = Vec::with_capacity(2 * PADDED_TO);
    message.extend([high, low, 0x01, checking, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(name);
    message.extend(asking.rtype.to_int().to_be_bytes());
    message.extend(asking.class.to_int().to_be_bytes());
    if !manner.edns {
        return message;
    }
    message[ARCOUNT] = 1;
    message.push(0);
    message.extend(Rtype::OPT.to_int().to_be_bytes());
    message.extend(OUR_LIMIT.to_be_bytes());
    message.extend([0, 0, if asking.dnssec_ok { 0x80 } else { 0 }, 0]);
    let bare = message.len() + 2;
    if !manner.padded {
        message.extend([0, 0]);
        return message;
    }
    let zeros = (bare + OPTION_HEAD).next_multiple_of(PADDED_TO) - bare - OPTION_HEAD;
    message.extend(((OPTION_HEAD + zeros) as u16).to_be_bytes());
    message.extend(PADDING.to_be_bytes());
    message.extend((zeros as u16).to_be_bytes());
    message.resize(message.len() + zeros, 0);
    message
}

#[cfg(test)]
mod tests {
    use domain::base::Message;
    use domain::base::opt::AllOptData;

    use super::*;
    use crate::forward::OwnedQuestion;

    fn request(manner: Manner) -> Request {
        let question = OwnedQuestion::new("www.some-name.example.org", Rtype::AAAA).unwrap();
        Request::new(&Asking::of(&question.borrow()), manner).unwrap()
    }

    #[test]
    fn ids_and_cases_differ_and_the_name_stays() {
        let requests: Vec<_> =
            (0..64).map(|_| request(Manner { cased: true, edns: true, padded: false })).collect();
        let mut names: Vec<_> = requests.iter().map(|request| request.name.clone()).collect();
        let mut ids: Vec<_> = requests.iter().map(|request| request.id).collect();
        assert!(
            names.iter().all(|name| name.eq_ignore_ascii_case(b"\x03www\x09some-name\x07example\x03org\0"))
        );
        names.sort();
        names.dedup();
        ids.sort_unstable();
        ids.dedup();
        assert!(names.len() > 50 && ids.len() > 50, "{} {}", names.len(), ids.len());
    }

    #[test]
    fn queries_parse_and_hide_their_length_under_tls() {
        let request = request(Manner { cased: true, edns: true, padded: true });
        assert_eq!(request.message.len() % PADDED_TO, 0);
        let message = Message::from_octets(request.message).unwrap();
        assert!(message.header().rd() && !message.header().qr());
        let opt = message.opt().unwrap();
        assert_eq!(opt.udp_payload_size(), OUR_LIMIT);
        assert!(opt.opt().iter::<AllOptData<_, _>>().all(|option| option.is_ok()));
    }
}
