//! The same questions to this server and to Knot, about the same generated zones: what differs is a mistake of one of
//! them, or is named in `explained`.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "support/program.rs"]
#[allow(dead_code, reason = "what only other suites use of it")]
mod program;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use dns::server::counts::{Counts, Protocol};
use dns::server::service::Outcome;
use dns::server::{Service, Snapshot, Zone};
use dns::{Name, RecordType, file};
use domain::base::Message;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt as _};
use domain::rdata::AllRecordData;
use program::{Program, command, port};

const QUESTIONS: usize = 120_000;
const ROUNDS: u64 = 4;
/// Questions that Knot has not answered yet.
const WINDOW: usize = 64;
const ZONES: [&str; 2] = ["diff.test", "own.diff.test"];
const LABELS: [&str; 7] = ["a", "b", "c", "d", "*", "own", "_x"];
const TYPES: [&str; 11] = ["A", "AAAA", "TXT", "MX", "SRV", "CNAME", "NS", "SOA", "DS", "DNAME", "TYPE65280"];

/// Numbers that only their seed decides (xorshift64*).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// A name within a zone, in which labels come again and again.
fn owner(chance: &mut Chance) -> String {
    let depth = 1 + chance.below(4);
    (0..depth).map(|_| chance.of(&LABELS)).collect::<Vec<_>>().join(".")
}

fn target(chance: &mut Chance) -> String {
    match chance.below(5) {
        0 => "elsewhere.example.".into(),
        1 => format!("{}.own.diff.test.", chance.of(&LABELS)),
        _ => format!("{}.diff.test.", owner(chance)),
    }
}

/// A zone whose records may stand beside each other, with whatever else there can be in one.
fn generate(zone: &str, chance: &mut Chance) -> String {
    let mut text =
        "$TTL 300\n@ 60 SOA ns hostmaster 1 3600 600 604800 60\n@ NS ns\n@ NS ns.elsewhere.example.\nns A 192.0.2.1\n".to_owned();
    let is_parent = zone == ZONES[0];
    if is_parent {
        text.push_str("own NS ns.own\nns.own A 192.0.2.2\n");
    }
    let mut used = BTreeSet::from(["ns".to_owned(), "own".to_owned(), "ns.own".to_owned()]);
    let mut grafted: Vec<String> = Vec::new();
    for _ in 0..90 {
        let name = owner(chance);
        let is_beneath = |other: &String| name.ends_with(&format!(".{other}"));
        if grafted.iter().any(is_beneath) || !used.insert(name.clone()) {
            continue;
        }
        let above = used.iter().any(|other| other.ends_with(&format!(".{name}")));
        match chance.below(12) {
            0..=1 => writeln!(text, "{name} CNAME {}", target(chance)),
            2 if !name.starts_with('*') => {
                let _ = writeln!(text, "{name} NS ns.{name}\n{name} NS {}", target(chance));
                writeln!(text, "ns.{name} A 192.0.2.3\nns.{name} AAAA 2001:db8::3")
            }
            3 if !above && !name.contains('*') => {
                grafted.push(name.clone());
                writeln!(text, "{name} DNAME {}", target(chance))
            }
            4 => writeln!(text, "{name} MX 10 {}\n{name} MX 20 {}", target(chance), target(chance)),
            5 => writeln!(text, "{name} SRV 0 0 80 {}", target(chance)),
            6 => writeln!(text, "{name} TXT \"{}\"\n{name} TYPE65280 \\# 2 ABCD", chance.next()),
            7 => writeln!(text, "{name} AAAA 2001:db8::{:x}", chance.below(65_536)),
            _ => writeln!(
                text,
                "{name} A 192.0.2.{}\n{name} A 198.51.100.{}",
                chance.below(256),
                chance.below(256)
            ),
        }
        .unwrap();
    }
    text
}

fn load(zones: &[(Name, String)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, text) in zones {
        let contents =
            file::read(text.as_bytes(), name, "generated").unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut zone = Zone::new(contents.soa.unwrap());
        contents.sets.iter().for_each(|set| zone.put(set));
        snapshot.put(zone);
    }
    snapshot
}

fn knot(folder: &std::path::Path, address: SocketAddr, zones: &[(Name, String)]) -> Program {
    let path = folder.display();
    let mut text = format!(
        "server:\n  rundir: \"{path}\"\n  listen: 127.0.0.1@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\ndatabase:\n  storage: \"{path}\"\nzone:\n",
        address.port()
    );
    for (name, zone) in zones {
        std::fs::write(folder.join(format!("{name}.zone")), zone).unwrap();
        let _ = writeln!(
            text,
            "  - domain: {name}\n    storage: \"{path}\"\n    file: {name}.zone\n    semantic-checks: off"
        );
    }
    std::fs::write(folder.join("knot.conf"), text).unwrap();
    let mut server = command("/usr/sbin/knotd");
    server.arg("-c").arg(folder.join("knot.conf"));
    Program::start(&mut server, &folder.join("log"))
}

fn question(chance: &mut Chance, id: u16) -> Vec<u8> {
    let zone = chance.of(&["diff.test", "diff.test", "own.diff.test", "test", "diff.example"]);
    let own = if chance.below(12) == 0 { String::new() } else { owner(chance) };
    let own = if chance.below(6) == 0 { format!("{own}.nothing") } else { own };
    let text = format!("{own}.{zone}");
    let name = Name::absolute(text.trim_start_matches('.')).unwrap();
    let rtype: RecordType = chance.of(&TYPES).parse().unwrap();
    let mut message = id.to_be_bytes().to_vec();
    message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    let case = chance.next();
    message.extend(name.wire().iter().enumerate().map(|(at, byte)| match case >> (at % 64) & 1 {
        1 => byte.to_ascii_uppercase(),
        _ => *byte,
    }));
    message.extend(rtype.number().to_be_bytes());
    message.extend([0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    message
}

/// The question as text.
fn asked(question: &[u8]) -> String {
    let message = Message::from_octets(question).unwrap();
    let question = message.sole_question().unwrap();
    format!("{} {}", question.qname(), question.qtype())
}

/// What an answer says, whatever the order and case in which it says so.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: String,
    is_authoritative: bool,
    is_truncated: bool,
    question: String,
    answers: BTreeSet<String>,
    authorities: BTreeSet<String>,
    additional: BTreeSet<String>,
}

fn said(message: &[u8]) -> Said {
    let message = Message::from_octets(message).unwrap();
    let flags = message.header().flags();
    let lines = |section: Option<domain::base::RecordSection<'_, &[u8]>>| -> BTreeSet<String> {
        let records = section.into_iter().flatten().map(Result::unwrap);
        let known = records.filter(|record| record.rtype().to_int() != 41);
        known
            .map(|record| record.to_any_record::<AllRecordData<_, _>>().unwrap())
            .map(|record| record.display_zonefile(DisplayKind::Simple).to_string().to_lowercase())
            .collect()
    };
    let asked = asked(message.as_slice());
    Said {
        code: message.header().rcode().to_string(),
        is_authoritative: flags.aa,
        is_truncated: flags.tc,
        question: asked,
        answers: lines(message.answer().ok()),
        authorities: lines(message.authority().ok()),
        additional: lines(message.additional().ok()),
    }
}

/// Differences that are none of correctness; `None` where there is no explanation.
fn explained(ours: &Said, theirs: &Said) -> Option<&'static str> {
    let same = ours.code == theirs.code
        && ours.is_authoritative == theirs.is_authoritative
        && ours.is_truncated == theirs.is_truncated
        && ours.question == theirs.question;
    if same && ours.answers == theirs.answers && ours.authorities == theirs.authorities {
        let differs = ours.additional != theirs.additional;
        return Some(if differs {
            "addresses added beside the answer are a choice (RFC 1034, section 4.3.2, step 6)"
        } else {
            "same"
        });
    }
    let leads_to_other_zone =
        ours.answers.iter().any(|line| line.contains(" in cname ") && line.ends_with("own.diff.test."));
    let refers =
        theirs.authorities.iter().all(|line| line.starts_with("own.diff.test.") && line.contains(" in ns "));
    if same && ours.answers == theirs.answers && ours.authorities.is_empty() && leads_to_other_zone && refers
    {
        return Some("an alias into another zone is the client's next question, or a referral to it");
    }
    let aliases = |said: &Said| said.answers.iter().filter(|line| line.contains(" in cname ")).count();
    if aliases(ours).max(aliases(theirs)) >= 16 || is_circle(ours) && is_circle(theirs) {
        return Some("how far a circle of aliases is followed is a choice");
    }
    None
}

/// Whether the aliases lead back to one of them.
fn is_circle(said: &Said) -> bool {
    let pairs: Vec<(&str, &str)> = said
        .answers
        .iter()
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words.get(3) == Some(&"cname")).then(|| (words[0], words[4]))
        })
        .collect();
    pairs.iter().any(|(owner, _)| pairs.iter().any(|(_, target)| owner == target))
        && pairs.iter().all(|(_, target)| pairs.iter().any(|(owner, _)| owner == target))
}

#[test]
fn knot_answers_the_same() {
    let seed = std::env::var("MCRUN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    let mut explanations = std::collections::BTreeMap::<&str, usize>::new();
    for round in 0..ROUNDS {
        compare(seed + round, &mut explanations);
    }
    assert!(explanations["same"] > QUESTIONS / 2, "{explanations:?}");
    let asked: usize = explanations.values().sum();
    assert_eq!(asked, QUESTIONS, "{explanations:?}");
}

fn compare(seed: u64, explanations: &mut std::collections::BTreeMap<&'static str, usize>) {
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let zones: Vec<(Name, String)> =
        ZONES.iter().map(|zone| (Name::absolute(zone).unwrap(), generate(zone, &mut chance))).collect();
    let folder = tempfile::tempdir().unwrap();
    let address = port();
    let mut peer = knot(folder.path(), address, &zones);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    wait(&socket, &mut peer, &mut chance);
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();

    let service = Service::new(None, None, 0);
    service.put(load(&zones));
    let (counts, mut out, mut buffer) = (Counts::default(), Vec::new(), vec![0; 65_536]);
    let of_round = QUESTIONS / usize::try_from(ROUNDS).unwrap();
    for first in (0..of_round).step_by(WINDOW) {
        let window = WINDOW.min(of_round - first);
        let questions: Vec<Vec<u8>> =
            (0..window).map(|id| question(&mut chance, u16::try_from(id).unwrap())).collect();
        for question in &questions {
            socket.send(question).unwrap();
        }
        let mut answered = BTreeSet::new();
        while answered.len() < window {
            let length = socket.recv(&mut buffer).unwrap();
            let id = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
            if id >= window || !answered.insert(id) {
                continue;
            }
            let heard = service.hear(&questions[id], address, Protocol::Udp, &counts, &mut out);
            assert!(matches!(heard, Outcome::Answered));
            let (ours, theirs) = (said(&out), said(&buffer[..length]));
            let Some(why) = explained(&ours, &theirs) else {
                panic!(
                    "seed {seed}: a difference without explanation\n{}\nours: {ours:#?}\nKnot: {theirs:#?}\n{}\n{}",
                    asked(&questions[id]),
                    zones[0].1,
                    zones[1].1
                );
            };
            *explanations.entry(why).or_default() += 1;
        }
    }
}

/// Until it answers about the last zone.
fn wait(socket: &UdpSocket, peer: &mut Program, chance: &mut Chance) {
    let begin = Instant::now();
    let mut buffer = [0; 1500];
    loop {
        peer.check();
        assert!(begin.elapsed() < Duration::from_secs(60), "{}", peer.log());
        let mut ask = question(chance, 7);
        let name = Name::absolute(ZONES[1]).unwrap();
        ask.truncate(12);
        ask.extend(name.wire());
        ask.extend([0, 6, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let _ = socket.send(&ask);
        match socket.recv(&mut buffer) {
            // NOERROR with an answer.
            Ok(length) if length > 12 && buffer[3] & 0x0F == 0 && buffer[7] == 1 => break,
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    // What was asked meanwhile is answered late, and not for what comes.
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    while socket.recv(&mut buffer).is_ok() {}
}
