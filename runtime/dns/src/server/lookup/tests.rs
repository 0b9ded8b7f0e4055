use domain::base::Message;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt as _};
use domain::rdata::AllRecordData;

use super::*;
use crate::file;
use crate::name::Name;
use crate::record::RecordType;

const ZONE: &str = "@ 300 SOA ns1 hostmaster 7 3600 600 604800 60
@ NS ns1
@ NS ns2.example.
ns1 A 192.0.2.1
ns1 AAAA 2001:db8::1
hello A 192.0.2.2
www CNAME hello
out CNAME elsewhere.example.
self CNAME @
loop1 CNAME loop2
loop2 CNAME loop1
gone CNAME nothing
a.b.c TXT x
*.wild A 192.0.2.3
*.wild MX 10 hello
there.wild TXT y
alias.wild CNAME x.wild
sub NS ns.sub
sub NS ns1
ns.sub A 192.0.2.4
sub DS 1 8 2 E2D3C916F6DEEAC73294E8268FB5885044A833FC5459588F4A9184CFC41A5766
tree DNAME elsewhere-and-longer.example.
tree TXT z
mail MX 10 hello
mail MX 20 mx.example.
_x._tcp SRV 0 0 80 www
_x._tcp SRV 0 0 81 hello
";

fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, text) in
        [("mcrun.test", ZONE), ("in.mcrun.test", "@ SOA a b 1 1 1 1 1\n@ NS a\na A 192.0.2.9\n")]
    {
        let name = Name::absolute(name).unwrap();
        let contents = file::read(text.as_bytes(), &name, "zone").unwrap();
        let mut zone = Zone::new(contents.soa.unwrap());
        contents.sets.iter().for_each(|set| zone.put(set));
        snapshot.put(zone);
    }
    snapshot
}

fn question(name: &str, rtype: u16, flags: u8) -> Vec<u8> {
    let mut message = vec![1, 2, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(Name::absolute(name).unwrap().wire());
    message.extend(rtype.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// The answer as text: code and flags, then a line for each record.
fn ask(name: &str, rtype: &str) -> String {
    let rtype = if rtype == "ANY" { ANY } else { rtype.parse::<RecordType>().unwrap().number() };
    show(&question(name, rtype, 0), usize::from(u16::MAX)).0
}

fn show(question: &[u8], limit: usize) -> (String, Found) {
    let (snapshot, mut out) = (snapshot(), Vec::new());
    let query = Query::read(question).ok().unwrap();
    let answered = answer(&snapshot, &query, &mut out, limit, true);
    assert!(out.len() <= limit);
    let message = Message::from_octets(&out[..]).unwrap();
    let flags = message.header().flags();
    let mut lines = vec![format!(
        "{}{}{}",
        message.header().rcode(),
        if flags.aa { " aa" } else { "" },
        if flags.tc { " tc" } else { "" }
    )];
    for record in message.iter() {
        let (record, section) = record.unwrap();
        let section = format!("{section:?}").chars().take(3).collect::<String>();
        let record = record.to_any_record::<AllRecordData<_, _>>().unwrap();
        lines.push(format!("{section} {}", record.display_zonefile(DisplayKind::Simple)));
    }
    (lines.join("\n"), answered.found)
}

#[test]
fn what_is_there_is_answered() {
    assert_eq!(ask("hello.mcrun.test", "A"), "NOERROR aa\nAns hello.mcrun.test. 300 IN A 192.0.2.2");
    assert_eq!(
        ask("mcrun.test", "NS").lines().collect::<Vec<_>>(),
        [
            "NOERROR aa",
            "Ans mcrun.test. 300 IN NS ns1.mcrun.test.",
            "Ans mcrun.test. 300 IN NS ns2.example.",
            "Add ns1.mcrun.test. 300 IN A 192.0.2.1",
            "Add ns1.mcrun.test. 300 IN AAAA 2001:db8::1",
        ]
    );
    assert!(ask("_x._tcp.mcrun.test", "SRV").contains("Add hello.mcrun.test. 300 IN A 192.0.2.2"));
    assert!(ask("mcrun.test", "ANY").matches("Ans").count() >= 1);
}

#[test]
fn what_is_not_there_is_denied_with_the_soa() {
    let soa = "Aut mcrun.test. 60 IN SOA ns1.mcrun.test. hostmaster.mcrun.test. 7 3600 600 604800 60";
    for (name, rtype, code) in [
        ("nothing.mcrun.test", "A", "NXDOMAIN"),
        ("hello.mcrun.test", "AAAA", "NOERROR"),
        ("b.c.mcrun.test", "A", "NOERROR"),
        ("c.mcrun.test", "A", "NOERROR"),
        ("x.b.c.mcrun.test", "A", "NXDOMAIN"),
        ("wild.mcrun.test", "A", "NOERROR"),
        ("x.wild.mcrun.test", "AAAA", "NOERROR"),
        ("there.wild.mcrun.test", "A", "NOERROR"),
        ("x.there.wild.mcrun.test", "A", "NXDOMAIN"),
        ("tree.mcrun.test", "A", "NOERROR"),
    ] {
        assert_eq!(ask(name, rtype), format!("{code} aa\n{soa}"), "{name} {rtype}");
    }
}

#[test]
fn a_wildcard_stands_for_every_name_beneath_that_is_not_there() {
    for name in ["x.wild.mcrun.test", "a.b.wild.mcrun.test", "*.wild.mcrun.test"] {
        assert_eq!(ask(name, "A"), format!("NOERROR aa\nAns {name}. 300 IN A 192.0.2.3"));
    }
    assert!(ask("x.wild.mcrun.test", "MX").contains("Ans x.wild.mcrun.test. 300 IN MX 10 hello.mcrun.test."));
    assert!(ask("alias.wild.mcrun.test", "A").contains("Ans x.wild.mcrun.test. 300 IN A 192.0.2.3"));
}

#[test]
fn aliases_are_followed_within_the_zone() {
    assert_eq!(
        ask("www.mcrun.test", "A"),
        "NOERROR aa\nAns www.mcrun.test. 300 IN CNAME hello.mcrun.test.\nAns hello.mcrun.test. 300 IN A 192.0.2.2"
    );
    assert!(ask("gone.mcrun.test", "A").starts_with("NXDOMAIN aa\nAns gone"));
    assert!(ask("www.mcrun.test", "CNAME").ends_with("CNAME hello.mcrun.test."));
    assert_eq!(ask("loop1.mcrun.test", "A").matches("CNAME").count(), MOST_ALIASES);
    let own = ask("self.mcrun.test", "DS");
    assert!(own.starts_with("NOERROR aa\nAns self") && own.contains("\nAut mcrun.test."), "{own}");
    let (_, found) = show(&question("out.mcrun.test", 1, 1), 1232);
    assert_eq!(found, Found::Leads(Name::absolute("elsewhere.example").unwrap().wire().into()));
}

#[test]
fn names_beneath_a_cut_are_answered_by_its_servers() {
    for name in ["sub.mcrun.test", "x.sub.mcrun.test", "ns.sub.mcrun.test"] {
        let answer = ask(name, "A");
        assert!(answer.starts_with("NOERROR\nAut sub.mcrun.test. 300 IN NS"), "{answer}");
        assert!(answer.contains("Add ns.sub.mcrun.test. 300 IN A 192.0.2.4"), "{answer}");
    }
    assert!(ask("sub.mcrun.test", "DS").starts_with("NOERROR aa\nAns sub.mcrun.test. 300 IN DS"));
}

#[test]
fn names_beneath_a_dname_stand_elsewhere() {
    assert_eq!(
        ask("a.tree.mcrun.test", "A"),
        "NOERROR aa\nAns tree.mcrun.test. 300 IN DNAME elsewhere-and-longer.example.\nAns a.tree.mcrun.test. 300 IN CNAME a.elsewhere-and-longer.example."
    );
    assert!(ask("tree.mcrun.test", "TXT").contains("Ans tree.mcrun.test. 300 IN TXT"));
    let long = format!("{}.tree.mcrun.test", vec!["abcdefghi"; 23].join("."));
    assert!(ask(&long, "A").starts_with("YXDOMAIN"), "{}", ask(&long, "A"));
}

#[test]
fn a_zone_of_its_own_is_answered_for_and_others_are_not() {
    assert!(ask("a.in.mcrun.test", "A").contains("192.0.2.9"));
    assert!(ask("in.mcrun.test", "DS").contains("Aut mcrun.test."));
    assert_eq!(ask("mcrun.example", "A"), "REFUSED");
    assert_eq!(ask("test", "A"), "REFUSED");
}

#[test]
fn an_answer_without_room_says_so_and_nothing_else() {
    let question = question("mail.mcrun.test", 15, 0);
    let (answer, _) = show(&question, question.len() + 20);
    assert_eq!(answer, "NOERROR aa tc");
    // Addresses that have no room are no part of the answer.
    let (answer, _) = show(&question, question.len() + 75);
    assert!(answer.starts_with("NOERROR aa\nAns"), "{answer}");
}

#[test]
fn the_question_comes_back_in_the_case_that_it_had() {
    let (snapshot, mut out) = (snapshot(), Vec::new());
    let mut question = question("hello.mcrun.test", 1, 1);
    question[13] = b'H';
    question[20] = b'C';
    let query = Query::read(&question).ok().unwrap();
    answer(&snapshot, &query, &mut out, 512, true);
    assert_eq!(out[12..question.len()], question[12..]);
    assert_eq!(out[2..4], [0x85, 0x80]);
}
