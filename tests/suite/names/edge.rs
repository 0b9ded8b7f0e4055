//! The edge is the last thing that goes down: it answers while the daemon is gone, is started again when it is gone
//! itself, and answers from what it kept where the database is lost.

use std::fs;

use rustix::process::Signal;

use super::ask::{self, By, Stream};
use super::place::{Names, ZONE};
use crate::harness::until;
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
    move_database_away(&names);
    let edge = names.edge();
    names.sees("www", 7);
    assert_eq!(names.answered_serial(), Some(2));
    assert!(edge.stderr().contains("kept"), "it says so: {}", edge.stderr());
    // What was kept stays, however long it takes until somebody looks.
    names.ends(0, &["runs"]);
    names.sees("www", 7);
    drop(edge);
    let _edge = names.edge();
    names.sees("www", 7);
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
