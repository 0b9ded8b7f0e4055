//! What name servers are sent: questions, updates, zone files, and what others answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use dns::forward::reply::{self, LONGEST_TTL, Sent};
use dns::server::counts::{Counts, Protocol};
use dns::server::service::{Finished, Outcome};
use dns::server::signed::{Key, KeySettings, Keys};
use dns::server::update::Update;
use dns::server::{Beyond, Service, Snapshot, Zone};
use dns::{Name, RecordSet, RecordType, file};
use domain::base::Message;
use domain::base::iana::{Class, Rtype};
use domain::rdata::AllRecordData;
use effect::Code;
use journal::SystemClock;
use tokio::runtime::Runtime;

const APEX: &str = "mcrun.test";
const HEADER: usize = 12;
/// What passes every network in one datagram.
const LARGEST_UDP: usize = 1232;
const LARGEST_PLAIN: usize = 512;
/// No update raises the serial by more (RFC 1982, section 3.1).
const HALF: u32 = 1 << 31;
/// Messages of one transfer that are looked at; the zone has not so many.
const MOST_MESSAGES: usize = 16;

const ZONE: &str = "$TTL 300
@ SOA ns hostmaster 7 3600 600 604800 60
@ NS ns
@ NS ns.elsewhere.example.
@ MX 10 mail
ns A 192.0.2.53
mail A 192.0.2.25
mail AAAA 2001:db8::25
a.b.c TXT \"an empty non-terminal above\"
alias CNAME next
next CNAME alias.sub
circle CNAME circle
out CNAME www.wntrmute.dev.
*.wild A 192.0.2.1
*.wild MX 10 mail
tree DNAME other.tree2
x.other.tree2 A 192.0.2.9
sub NS ns.sub
sub NS ns.elsewhere.example.
sub DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub A 192.0.2.54
_s._tcp SRV 0 0 80 mail
odd TYPE65280 \\# 3 ABCDEF
";

fn apex() -> Name {
    Name::absolute(APEX).unwrap()
}

fn contents() -> file::Contents {
    let large: String =
        (0..60).map(|number| format!("large TXT \"{number} {}\"\n", "x".repeat(200))).collect();
    file::read(format!("{ZONE}{large}").as_bytes(), &apex(), "zone").unwrap()
}

struct Stage {
    runtime: Runtime,
    service: Arc<Service>,
    counts: Counts,
}

impl Stage {
    fn new() -> Self {
        let contents = contents();
        let mut zone = Zone::new(contents.soa.unwrap());
        contents.sets.iter().for_each(|set| zone.put(set));
        let mut snapshot = Snapshot::default();
        snapshot.put(zone);
        let settings = KeySettings {
            algorithm: Default::default(),
            secret: "dns/key".into(),
            write: vec!["mcrun.test/*".into()],
            transfer: vec!["*".into()],
        };
        let key = Key::new("k", &settings, b"bWNydW4gdGVzdCBrZXkgb2YgMzIgb2N0ZXRzLCBvaw==").unwrap();
        let zones = dns::server::transfer::ZoneSettings {
            transfer: vec!["127.0.0.0/8".parse().unwrap()],
            ..Default::default()
        };
        let zones = BTreeMap::from([(APEX.to_owned(), zones)]);
        let keys = Arc::new(Keys::new(vec![key]).unwrap());
        let beyond = Beyond::new(keys, &zones, None, Arc::new(SystemClock), false).unwrap();
        let service = Service::new(None, Some(beyond), 0);
        service.put(snapshot);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, service, counts: Counts::default() }
    }

    /// The answers to a message, by whatever way they come.
    fn ask(&self, message: &[u8], protocol: Protocol) -> Vec<Vec<u8>> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
        let mut out = Vec::new();
        match self.service.hear(message, peer, protocol, &self.counts, &mut out) {
            Outcome::Silence => Vec::new(),
            Outcome::Answered => vec![out],
            Outcome::Later(later) => match self.runtime.block_on(self.service.finish(later, &self.counts)) {
                Finished::Nothing => Vec::new(),
                Finished::One(answer) => vec![answer],
                Finished::Many(answers) => answers.take(MOST_MESSAGES).collect(),
            },
        }
    }
}

thread_local! {
    static STAGE: Stage = Stage::new();
    static BEFORE: file::Contents = contents();
}

/// Every record of a message, each of which has to be one of its type.
fn parse(bytes: &[u8]) {
    let message = Message::from_octets(bytes).unwrap();
    for record in message.iter() {
        record.unwrap().0.to_any_record::<AllRecordData<_, _>>().unwrap();
    }
}

/// A message to the server: over TCP where the first byte is odd, over UDP else.
///
/// # Panics
/// When an answer does not parse, belongs to another question, is too large, or says that it was verified.
pub fn dns_query(bytes: &[u8]) {
    let Some((first, message)) = bytes.split_first() else { return };
    let protocol = if first % 2 == 1 { Protocol::Tcp } else { Protocol::Udp };
    let answers = STAGE.with(|stage| stage.ask(message, protocol));
    if message.len() < HEADER || message[2] & 0x80 != 0 {
        assert!(answers.is_empty(), "what is no question is answered");
        return;
    }
    assert!(!answers.is_empty(), "a question is not answered");
    for answer in &answers {
        parse(answer);
        assert_eq!(answer[..2], message[..2], "the id is another");
        // An answer, with the opcode that was asked for and whether recursion was wanted.
        assert_eq!(answer[2] & 0xF9, 0x80 | message[2] & 0x79, "the head is that of another answer");
        assert_eq!(answer[3] & 0x60, 0, "an answer says that it was verified");
        if answer[4..6] == [0, 1] {
            let end = question_end(message).unwrap();
            assert_eq!(answer[HEADER..end], message[HEADER..end], "the question is another");
        }
        if protocol == Protocol::Udp {
            let most = if message[10..12] == [0, 0] { LARGEST_PLAIN } else { LARGEST_UDP };
            assert!(answer.len() <= most, "{} octets", answer.len());
        }
    }
    assert!(protocol == Protocol::Tcp || answers.len() == 1);
}

/// Where the question of a message ends.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 5),
            length => at += 1 + length,
        }
    }
}

/// An UPDATE of a zone, whose records are looked at as they would then be.
///
/// # Panics
/// When the zone would hold what no zone may, or what cannot be written and read again.
pub fn dns_update(bytes: &[u8]) {
    let Ok(update) = Update::read(bytes) else { return };
    BEFORE.with(|before| {
        let before_soa = before.soa.as_ref().unwrap();
        // The server finds the zone by its name; here there is but one.
        if update.zone() != &before_soa.zone {
            return;
        }
        let Ok(revision) = update.revise_records(before_soa, &before.sets) else { return };
        let mut sets: BTreeMap<(Name, RecordType), RecordSet> =
            before.sets.iter().map(|set| ((set.name.clone(), set.rtype), set.clone())).collect();
        for key in revision.change.remove {
            assert!(sets.remove(&key).is_some(), "what is not there is removed");
        }
        for set in revision.change.put {
            assert!(set.name.is_within(&before_soa.zone) && !set.values.is_empty());
            let again = RecordSet::new(set.name.clone(), set.rtype, set.ttl, set.values.clone());
            assert_eq!(again.unwrap(), set);
            let old = sets.insert((set.name.clone(), set.rtype), set.clone());
            assert_ne!(old.as_ref(), Some(&set), "what was there is put");
        }
        let soa = revision.soa.unwrap_or_else(|| before_soa.clone());
        assert!(soa.serial.wrapping_sub(before_soa.serial) < HALF, "the serial goes back");
        let aliases: BTreeSet<&Name> =
            sets.keys().filter(|(_, rtype)| *rtype == RecordType::CNAME).map(|(name, _)| name).collect();
        for (name, rtype) in sets.keys() {
            let stands_beside = ["CNAME", "RRSIG", "NSEC", "KEY"].contains(&rtype.to_string().as_str());
            assert!(stands_beside || !aliases.contains(name), "{name} has a CNAME and {rtype}");
        }
        assert!(sets.contains_key(&(apex(), RecordType::NS)), "the zone has no name server left");
        let sets: Vec<RecordSet> = sets.into_values().collect();
        let text = file::write(&soa, &sets);
        let read = file::read(text.as_bytes(), &soa.zone, "written");
        let read = read.unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!((read.soa, read.sets), (Some(soa), sets), "{text}");
    });
}

/// A zone file.
///
/// # Panics
/// When what was read of it is not the same after it was written, or a mistake has no place.
pub fn dns_zone(bytes: &[u8]) {
    let contents = match file::read(bytes, &apex(), "a.zone") {
        Ok(contents) => contents,
        Err(error) => {
            assert_eq!(error.code, Code::DnsZoneFile, "{error}");
            let place = error.message.strip_prefix("a.zone:").unwrap();
            let (line, rest) = place.split_once(':').unwrap();
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
            assert!((1..=lines).contains(&line.parse().unwrap()), "{error}");
            assert!(rest.split_once(':').unwrap().0.parse::<usize>().is_ok(), "{error}");
            return;
        }
    };
    let soa = contents.soa.clone().unwrap_or_else(|| BEFORE.with(|before| before.soa.clone().unwrap()));
    let text = file::write(&soa, &contents.sets);
    let again =
        file::read(text.as_bytes(), &apex(), "b.zone").unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((again.soa.as_ref(), &again.sets), (Some(&soa), &contents.sets), "{text}");
    let mut zone = Zone::new(soa);
    contents.sets.iter().for_each(|set| zone.put(set));
    assert_eq!(zone.sets(), contents.sets);
}

/// What an upstream answers to a question for `wWw.eXample`: the first byte says how it was asked.
///
/// # Panics
/// When what is kept of it does not parse, belongs to another question, or is kept for too long.
pub fn dns_answer(bytes: &[u8]) {
    const NAME: &[u8] = b"\x03wWw\x07eXample\0";
    const END: usize = HEADER + NAME.len();
    let Some((first, message)) = bytes.split_first() else { return };
    // Of whatever type the answer is: that is read from its question.
    let rtype = message.get(END..END + 2).map_or(1, |octets| u16::from_be_bytes([octets[0], octets[1]]));
    let sent = Sent {
        id: 0x1234,
        name: NAME,
        rtype: Rtype::from_int(rtype),
        class: Class::IN,
        dnssec_ok: first & 2 != 0,
        stream: first & 1 != 0,
    };
    let Ok(reply) = reply::read(&mut message.to_vec(), &sent) else { return };
    assert!(reply.echoed || sent.stream, "the case is another");
    assert_eq!(reply.message[HEADER..END], NAME.to_ascii_lowercase());
    assert_eq!(reply.message[END..END + 4], message[END..END + 4]);
    let kept = Message::from_octets(&*reply.message).unwrap();
    let mut places = reply.ttls.iter();
    for record in kept.iter() {
        let (record, _) = record.unwrap();
        let place = usize::from(*places.next().unwrap());
        let ttl = record.ttl().as_secs();
        assert_eq!(reply.message[place..place + 4], ttl.to_be_bytes());
        assert!(ttl <= LONGEST_TTL && reply.ttl <= ttl, "{ttl}");
    }
    assert!(places.next().is_none(), "a time to live lies where no record does");
}
