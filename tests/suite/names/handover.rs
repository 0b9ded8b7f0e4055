//! An edge hands its sockets to its successor: no question is lost on the way.

use std::net::SocketAddr;

use super::ask::{self, By, Stream, Transfer};
use super::place::{Names, ZONE, address};
use crate::harness::{Started, until};

const WWW: &str = "www.mcrun.test";

fn successor(names: &Names, number: usize, times: usize) -> Started {
    let next = names.edge();
    assert_eq!(names.process(), Some(next.pid()), "successor {number} of {times} answers");
    next
}

#[test]
fn a_successor_takes_over_without_a_lost_question() {
    const TIMES: usize = 5;
    let names = Names::new().with_zone();
    let mut edge = names.edge();
    let streams: Vec<Stream> =
        [By::Udp, By::Udp, By::Tcp, By::Tcp].map(|by| Stream::start(by, names.at, WWW, ZONE)).into();
    for number in 1..=TIMES {
        streams.iter().for_each(|stream| stream.goes_on(20));
        let next = successor(&names, number, TIMES);
        let end = std::mem::replace(&mut edge, next).end();
        assert_eq!(end.code, Some(0), "{end}");
    }
    names.set("www", 2);
    names.sees("www", 2);
    streams.into_iter().for_each(|stream| drop(stream.end()));
}

#[test]
fn a_successor_with_other_settings_answers_at_old_and_new_addresses() {
    let names = Names::new().with_zone();
    let edge = names.edge();
    let stream = [By::Udp, By::Tcp].map(|by| Stream::start(by, names.at, WWW, ZONE));
    stream[0].goes_on(10);
    let other = address();
    names.listen(&[names.at, other], "");
    let second = successor(&names, 1, 2);
    assert_eq!(edge.end().code, Some(0));
    assert_eq!(ask::udp(other, WWW, ask::A).map(|answer| answer.rcode), Some(0));
    assert_eq!(ask::tcp(other, WWW, ask::A).map(|answer| answer.rcode), Some(0));
    stream.iter().for_each(|stream| stream.goes_on(10));
    // And back: what is not listened at any more is free.
    names.listen(&[names.at], "");
    let _third = successor(&names, 2, 2);
    assert_eq!(second.end().code, Some(0));
    std::net::UdpSocket::bind(other).expect("nobody listens there any more");
    std::net::TcpListener::bind(other).expect("nobody listens there any more");
    stream.into_iter().for_each(|stream| drop(stream.end()));
}

#[test]
fn a_transfer_under_way_comes_to_its_end() {
    const RECORDS: usize = 60_000;
    let names = Names::new();
    // Larger than what lies between two sockets: the rest waits in the edge. A zone that was kept is the fastest to make.
    let kept = names.state().join("edge/zones");
    std::fs::create_dir_all(&kept).unwrap();
    let head = format!("$ORIGIN {ZONE}.\n@ 300 IN SOA ns hostmaster 5 3600 600 604800 60\n@ 300 IN NS ns\n");
    let record = |number: usize| format!("host-{number} 300 IN TXT \"{number:0>230}\"\n");
    let records: String = (0..RECORDS).map(record).collect();
    std::fs::write(kept.join(format!("{ZONE}.zone")), format!("{head}{records}")).unwrap();
    names.listen(&[names.at], &format!("[dns.zones.\"{ZONE}\"]\ntransfer = [\"127.0.0.0/8\"]"));
    let edge = names.edge();
    let transfer = Transfer::begin(names.at, ZONE);
    let _next = successor(&names, 1, 1);
    // SOA twice, and NS.
    assert_eq!(transfer.finish(), Some(RECORDS + 3));
    assert_eq!(edge.end().code, Some(0));
}

#[test]
fn a_daemon_with_other_settings_has_a_successor_answer() {
    let names = Names::new().with_zone();
    let mut daemon = names.serve();
    let first = names.process().expect("an edge answers");
    let stream = [By::Udp, By::Tcp].map(|by| Stream::start(by, names.at, WWW, ZONE));
    stream[0].goes_on(10);
    daemon.kill();
    let other = address();
    names.listen(&[names.at, other], "");
    let _daemon = names.serve();
    let second = names.process().expect("an edge answers");
    assert_ne!(first, second);
    until("the first one has ended", || {
        crate::processes::all().iter().all(|process| process.pid != first).then_some(())
    });
    assert_eq!(ask::udp(other, WWW, ask::A).map(|answer| answer.rcode), Some(0));
    stream.into_iter().for_each(|stream| drop(stream.end()));
}

#[test]
fn a_successor_that_cannot_listen_leaves_the_one_that_answers() {
    let names = Names::new().with_zone();
    let edge = names.edge();
    let held = address();
    let _holder = std::net::UdpSocket::bind(held).unwrap();
    names.listen(&[names.at, held], "");
    let failed = names.ends(1, &["edge"]);
    failed.says(&["MC-Q020", &held.to_string()]);
    assert_eq!(names.process(), Some(edge.pid()));
    names.sees("www", 1);
    fn still(at: SocketAddr) -> Option<u8> {
        Some(ask::tcp(at, WWW, ask::A)?.rcode)
    }
    assert_eq!(still(names.at), Some(0));
}
