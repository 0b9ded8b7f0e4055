//! Owns names that the public DNS cannot or must not know: which are answered here, which only a private network is
//! asked for. The lists are RFC 6761, 6303, 6762, 7686, 7793, 8375, 9462, 9665 and ICANN's `internal`.

use std::net::Ipv4Addr;

use domain::base::iana::{Rcode, Rtype};

use super::question::{Question, suffixes};
use super::reply::Reply;

/// TTL of what is answered here, as in RFC 6303 section 3.
const TTL: u32 = 10_800;

/// What is to be done with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anybody may be asked.
    Public,
    /// Resolvers with private addresses may know it; nobody else is to see it. Holds the length of its zone's name.
    Private(usize),
    /// Nobody is asked. Holds the length of its zone's name.
    Nowhere(usize),
    /// This machine, RFC 6761 section 6.3.
    Localhost,
    /// The reverse of a loopback address. Holds the length of its zone's name.
    Loopback(usize),
}

/// Never leave the machine: `test` and `invalid` are nobody's, `onion` and `alt` are not of the DNS, `resolver.arpa`
/// (RFC 9462 section 6) asks about the resolver itself, the rest are reverse zones of addresses that no host has.
const NOWHERE: [&str; 12] = [
    "invalid",
    "test",
    "onion",
    "alt",
    "resolver.arpa",
    "0.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
];

const PRIVATE: [&str; 14] = [
    "home.arpa",
    "internal",
    "local",
    "service.arpa",
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "254.169.in-addr.arpa",
    "c.f.ip6.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "lan",
];

const LOOPBACK_V6: &str = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa";

/// What the lower-case wire name is.
pub(super) fn kind(name: &[u8]) -> Kind {
    for suffix in suffixes(name) {
        let is = |text: &str| spells(suffix, text);
        if is("localhost") {
            return Kind::Localhost;
        }
        if is("127.in-addr.arpa") || is(LOOPBACK_V6) {
            return Kind::Loopback(suffix.len());
        }
        if NOWHERE.iter().any(|text| is(text)) {
            return Kind::Nowhere(suffix.len());
        }
        if PRIVATE.iter().any(|text| is(text)) || is_private_reverse(suffix) {
            return Kind::Private(suffix.len());
        }
    }
    Kind::Public
}

/// 172.16.0.0/12 and 100.64.0.0/10 are many zones.
fn is_private_reverse(suffix: &[u8]) -> bool {
    let Some(&length) = suffix.first() else { return false };
    let (Some(label), Some(rest)) =
        (suffix.get(1..1 + usize::from(length)), suffix.get(1 + usize::from(length)..))
    else {
        return false;
    };
    let number = || std::str::from_utf8(label).ok()?.parse::<u8>().ok();
    (spells(rest, "172.in-addr.arpa") && number().is_some_and(|number| (16..32).contains(&number)))
        || (spells(rest, "100.in-addr.arpa") && number().is_some_and(|number| (64..128).contains(&number)))
}

/// Whether the wire name is the one that `text` writes.
fn spells(wire: &[u8], text: &str) -> bool {
    if wire.len() != text.len() + 2 {
        return false;
    }
    let mut rest = wire;
    for label in text.split('.') {
        match rest.split_first() {
            Some((&length, after))
                if usize::from(length) == label.len() && after.starts_with(label.as_bytes()) =>
            {
                rest = &after[label.len()..];
            }
            _ => return false,
        }
    }
    rest == [0]
}

/// The answer that is given without asking anybody, as unbound gives it.
pub(super) fn answer(question: &Question<'_>, kind: Kind) -> Option<Reply> {
    let (name, rtype) = (question.name, question.rtype);
    let zone = |length: usize| &name[name.len() - length..];
    match kind {
        Kind::Public => None,
        Kind::Localhost => Some(match rtype {
            Rtype::A => record(question, &Ipv4Addr::LOCALHOST.octets()),
            Rtype::AAAA => record(question, &std::net::Ipv6Addr::LOCALHOST.octets()),
            _ => nothing(question, zone(LOCALHOST.len()), Rcode::NOERROR),
        }),
        Kind::Loopback(length) => Some(match (rtype, is_loopback(name)) {
            (Rtype::PTR, true) => record(question, LOCALHOST),
            (_, true) => nothing(question, zone(length), Rcode::NOERROR),
            (_, false) if name.len() == length => nothing(question, name, Rcode::NOERROR),
            (_, false) => nothing(question, zone(length), Rcode::NXDOMAIN),
        }),
        Kind::Private(length) | Kind::Nowhere(length) => {
            // The top of the zone is there, its names are not.
            let rcode = if name.len() == length { Rcode::NOERROR } else { Rcode::NXDOMAIN };
            Some(nothing(question, zone(length), rcode))
        }
    }
}

const LOCALHOST: &[u8] = b"\x09localhost\0";

fn is_loopback(name: &[u8]) -> bool {
    spells(name, "1.0.0.127.in-addr.arpa") || spells(name, LOOPBACK_V6)
}

fn header(question: &Question<'_>, rcode: Rcode, answers: u8, authorities: u8) -> Vec<u8> {
    let mut message = vec![0, 0, 0x81, 0x80 | rcode.to_int() & 0x0f, 0, 1, 0, answers, 0, authorities, 0, 0];
    message.extend(question.name);
    message.extend(question.rtype.to_int().to_be_bytes());
    message.extend(question.class.to_int().to_be_bytes());
    message
}

fn push(message: &mut Vec<u8>, owner: usize, rtype: Rtype, question: &Question<'_>, data: &[u8]) -> u16 {
    message.extend((0xc000 | owner as u16).to_be_bytes());
    message.extend(rtype.to_int().to_be_bytes());
    message.extend(question.class.to_int().to_be_bytes());
    let place = message.len() as u16;
    message.extend(TTL.to_be_bytes());
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
    place
}

fn record(question: &Question<'_>, data: &[u8]) -> Reply {
    let mut message = header(question, Rcode::NOERROR, 1, 0);
    let place = push(&mut message, 12, question.rtype, question, data);
    reply(message, place)
}

/// The SOA is unbound's: `localhost. nobody.invalid. 1 3600 1200 604800 10800`.
fn nothing(question: &Question<'_>, zone: &[u8], rcode: Rcode) -> Reply {
    let mut data = LOCALHOST.to_vec();
    data.extend(b"\x06nobody\x07invalid\0");
    for number in [1, 3600, 1200, 604_800, TTL] {
        data.extend(number.to_be_bytes());
    }
    let mut message = header(question, rcode, 0, 1);
    let owner = 12 + question.name.len() - zone.len();
    let place = push(&mut message, owner, Rtype::SOA, question, &data);
    reply(message, place)
}

fn reply(message: Vec<u8>, place: u16) -> Reply {
    Reply { message: message.into(), ttls: [place].into(), ttl: TTL, echoed: true, dangling: None }
}

#[cfg(test)]
mod tests {
    use domain::base::Message;

    use super::*;
    use crate::forward::OwnedQuestion;

    fn kind_of(name: &str) -> Kind {
        kind(OwnedQuestion::new(name, Rtype::A).unwrap().borrow().name)
    }

    #[test]
    fn names_fall_into_their_kinds() {
        for (name, wanted) in [
            ("example.org", Kind::Public),
            ("localhost.example.org", Kind::Public),
            ("mytest", Kind::Public),
            ("172.in-addr.arpa", Kind::Public),
            ("1.15.172.in-addr.arpa", Kind::Public),
            ("1.128.100.in-addr.arpa", Kind::Public),
            ("localhost", Kind::Localhost),
            ("a.b.localhost", Kind::Localhost),
            ("1.0.0.127.in-addr.arpa", Kind::Loopback(18)),
            ("some.onion", Kind::Nowhere(7)),
            ("a.test", Kind::Nowhere(6)),
            ("_dns.resolver.arpa", Kind::Nowhere(15)),
            ("printer.local", Kind::Private(7)),
            ("nas.home.arpa", Kind::Private(11)),
            ("1.1.168.192.in-addr.arpa", Kind::Private(22)),
            ("1.16.172.in-addr.arpa", Kind::Private(21)),
            ("1.31.172.in-addr.arpa", Kind::Private(21)),
            ("1.127.100.in-addr.arpa", Kind::Private(22)),
            (".", Kind::Public),
        ] {
            assert_eq!(kind_of(name), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_answered_here_is_a_whole_message() {
        for (name, rtype, rcode, answers) in [
            ("localhost", Rtype::A, Rcode::NOERROR, 1),
            ("x.localhost", Rtype::AAAA, Rcode::NOERROR, 1),
            ("localhost", Rtype::MX, Rcode::NOERROR, 0),
            ("1.0.0.127.in-addr.arpa", Rtype::PTR, Rcode::NOERROR, 1),
            ("2.0.0.127.in-addr.arpa", Rtype::PTR, Rcode::NXDOMAIN, 0),
            ("some.onion", Rtype::A, Rcode::NXDOMAIN, 0),
            ("test", Rtype::SOA, Rcode::NOERROR, 0),
        ] {
            let question = OwnedQuestion::new(name, rtype).unwrap();
            let question = question.borrow();
            let reply = answer(&question, kind(question.name)).unwrap();
            let message = Message::from_octets(reply.message.to_vec()).unwrap();
            assert_eq!(message.header().rcode(), rcode, "{name}");
            assert_eq!(message.header_counts().ancount(), answers, "{name}");
            for record in message.iter() {
                let (record, _) = record.unwrap();
                assert_eq!(record.ttl().as_secs(), TTL);
                record.to_any_record::<domain::rdata::AllRecordData<_, _>>().unwrap();
            }
        }
    }
}
