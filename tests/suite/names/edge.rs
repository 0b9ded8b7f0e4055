//! The edge is the last thing that goes down: it answers while the daemon is gone, is started again when it is gone
//! itself, and answers from what it kept where the database is lost.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;

use super::ask::{self, By, Stream};
use super::place::{Names, ZONE};
use crate::harness::{report, until};
use crate::processes;

const WWW: &str = "www.mcrun.test";

#[test]
fn answers_go_on_while_the_daemon_is_gone_and_changes_are_seen() {
    let names = Names::new().with_zone();
    let mut daemon = names.serve();
    let edge = names.process().expect("an edge answers");
    assert!(daemon.stderr().contains(&format!("process {edge}")), "{}", daemon.stderr());
    let streams = [By::Udp, By::Tcp].map(|by| Stream::start(by, names.at, WWW, ZONE));
    streams[0].goes_on(20);
    daemon.kill();
    for last in 2..8 {
        names.set("www", last);
        names.sees("www", last);
    }
    streams.iter().for_each(|stream| stream.goes_on(20));
    assert_eq!(names.process(), Some(edge), "the edge lives on");
    let mut daemon = names.serve();
    assert_eq!(names.process(), Some(edge), "the edge that is there is adopted");
    names.set("www", 9);
    names.sees("www", 9);
    for stream in streams {
        assert_eq!(u64::from(stream.end().serial), names.serial());
    }
    // One that was adopted is looked after like any other.
    processes::signal(edge, Signal::KILL);
    until("another edge answers", || names.process().filter(|process| *process != edge));
    names.sees("www", 9);
    daemon.kill();
}

#[test]
fn an_edge_that_was_killed_comes_back_with_the_same_zones() {
    let names = Names::new().with_zone();
    names.ends(0, &["zones", "set", "other.test"]);
    let _daemon = names.serve();
    for last in 2..5 {
        let (edge, serial) = (names.process().expect("an edge answers"), names.answered_serial());
        processes::signal(edge, Signal::KILL);
        until("another edge answers", || names.process().filter(|process| *process != edge));
        assert!(names.answered_serial() >= serial);
        names.set("www", last);
        names.sees("www", last);
        assert_eq!(ask::udp(names.at, "other.test", ask::SOA).and_then(|answer| answer.serial()), Some(1));
    }
}

/// An edge has answered and was killed after it had kept `www` with .7.
fn kept() -> Names {
    let names = Names::new().with_zone();
    names.set("www", 7);
    let mut edge = names.edge();
    let file = names.state().join(format!("edge/zones/{ZONE}.zone"));
    until("the zone is kept", || fs::read_to_string(&file).ok()?.contains("192.0.2.7").then_some(()));
    edge.kill();
    names
}

fn move_database_away(names: &Names) {
    for file in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        // The log of a database that was closed is gone.
        let _ = fs::rename(names.state().join(file), names.path().join(file));
    }
}

fn move_database_back(names: &Names) {
    for file in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(names.state().join(file));
        let _ = fs::rename(names.path().join(file), names.state().join(file));
    }
}

#[test]
fn an_edge_without_its_database_answers_from_what_it_kept() {
    let names = kept();
    let serial = u32::try_from(names.serial()).unwrap();
    move_database_away(&names);
    let edge = names.edge();
    names.sees("www", 7);
    assert_eq!(names.answered_serial(), Some(serial));
    assert!(edge.stderr().contains("not in the database"), "it says so: {}", edge.stderr());
    // What was kept stays, however often another database is looked into.
    names.ends(0, &["zones", "set", "other.test"]);
    until("the other zone is answered", || ask::udp(names.at, "other.test", ask::SOA)?.serial());
    until("the other zone is kept", || fs::metadata(names.state().join("edge/zones/other.test.zone")).ok());
    names.sees("www", 7);
    drop(edge);
    let _edge = names.edge();
    names.sees("www", 7);
    // It is recorded again from what was kept, and goes on from there.
    let file = names.state().join(format!("edge/zones/{ZONE}.zone"));
    names.ends(0, &["zones", "import", ZONE, file.to_str().unwrap()]);
    names.sees("www", 7);
    until("the serial goes on", || (names.answered_serial()? >= serial).then_some(()));
    names.set("www", 8);
    names.sees("www", 8);
    names.ends(0, &["zones", "rm", ZONE, "--yes"]);
    until("a zone that was taken away is gone", || {
        (ask::udp(names.at, ZONE, ask::SOA)?.rcode != 0).then_some(())
    });
}

#[test]
fn an_edge_whose_database_is_garbage_answers_from_what_it_kept_until_it_is_back() {
    let names = kept();
    move_database_away(&names);
    fs::write(names.database(), vec![b'x'; 20_000]).unwrap();
    let edge = names.edge();
    names.sees("www", 7);
    assert!(edge.stderr().contains("kept"), "it says so: {}", edge.stderr());
    move_database_back(&names);
    names.set("www", 8);
    names.sees("www", 8);
    assert_eq!(u64::from(names.answered_serial().unwrap()), names.serial());
}

#[test]
fn a_database_that_goes_while_the_edge_answers_changes_nothing_of_its_answers() {
    let names = Names::new().with_zone();
    let _edge = names.edge();
    names.sees("www", 1);
    let stream = Stream::start(By::Udp, names.at, WWW, ZONE);
    move_database_away(&names);
    stream.goes_on(300);
    fs::write(names.database(), b"garbage").unwrap();
    stream.goes_on(300);
    fs::remove_file(names.database()).unwrap();
    // A new one takes its place.
    names.ends(0, &["runs"]);
    stream.goes_on(300);
    move_database_back(&names);
    names.set("www", 2);
    names.sees("www", 2);
    stream.end();
}

#[test]
fn a_kept_zone_that_is_torn_is_left_out_and_the_others_are_answered() {
    let names = kept();
    move_database_away(&names);
    fs::write(names.database(), b"garbage").unwrap();
    fs::write(names.state().join("edge/zones/torn.test.zone"), "$ORIGIN torn.test.\n@ 300 IN SO").unwrap();
    let edge = names.edge();
    names.sees("www", 7);
    assert!(edge.stderr().contains("torn.test.zone"), "{}", edge.stderr());
    assert_ne!(ask::udp(names.at, "torn.test", ask::SOA).map(|answer| answer.rcode), Some(0));
}

#[test]
fn a_change_is_answered_soon_after_its_commit() {
    const CHANGES: u32 = 200;
    let names = Names::new().with_zone();
    let _edge = names.edge();
    names.sees("www", 1);
    let database = rusqlite::Connection::open(names.database()).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let mut took = Vec::new();
    for change in 0..CHANGES {
        let last = u8::try_from(change % 200 + 2).unwrap();
        let value = format!("{{\"ttl\":300,\"values\":[\"192.0.2.{last}\"]}}");
        let update = "UPDATE records SET value = ? WHERE kind = 'dns:mcrun.test' AND name = 'www A'";
        assert_eq!(database.execute(update, [value]).unwrap(), 1);
        let committed = Instant::now();
        let wanted = std::net::Ipv4Addr::new(192, 0, 2, last);
        until("the change is answered", || {
            (0..1000).find_map(|_| (ask::udp(names.at, WWW, ask::A)?.addresses() == [wanted]).then_some(()))
        });
        took.push(committed.elapsed());
    }
    took.sort();
    let figure = |part: usize| took[took.len() * part / 100].as_micros();
    report(
        &format!("commit to answer: median {} µs, 99 % {} µs, most", figure(50), figure(99)),
        took.last().map_or(0, |most| usize::try_from(most.as_micros()).unwrap()),
        "µs",
        0,
    );
}
