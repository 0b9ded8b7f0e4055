//! The database is lost, damaged or another one; the disk is full: what was served is served.

use std::fs;

use super::backend;
use super::load::{Stream, get, sees};
use super::place::{PORT, Routed, route};
use crate::errors_of_state::Small;
use crate::harness::until;

const HOST: &str = "a.test";

fn move_database_away(routed: &Routed) {
    for file in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        // The log of a database that was closed is gone.
        let _ = fs::rename(routed.state().join(file), routed.path().join(file));
    }
}

fn move_database_back(routed: &Routed) {
    for file in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(routed.state().join(file));
        let _ = fs::rename(routed.path().join(file), routed.state().join(file));
    }
}

fn is_kept(routed: &Routed, text: &str) {
    let file = routed.state().join("edge/routes.json");
    until("the route is kept", || fs::read_to_string(&file).ok()?.contains(text).then_some(()));
}

#[test]
fn routes_are_served_on_while_the_database_is_garbage_and_by_a_fresh_edge_too() {
    let routed = Routed::new();
    let edge = routed.edge();
    routed.put(HOST, &[backend::start("one")]);
    is_kept(&routed, HOST);
    let streams = Stream::all(routed.at, HOST);
    streams[0].goes_on(20);
    move_database_away(&routed);
    fs::write(routed.database(), vec![b'x'; 20_000]).unwrap();
    streams.iter().for_each(|stream| stream.goes_on(100));
    let next = routed.edge();
    streams.iter().for_each(|stream| stream.goes_on(100));
    streams.into_iter().for_each(Stream::ended);
    assert_eq!(edge.end().code, Some(0));
    drop(next);
    let edge = routed.edge();
    assert_eq!(get(routed.at, HOST), Some((200, "one 0".into())));
    assert!(edge.stderr().contains("kept"), "it says so: {}", edge.stderr());
    move_database_back(&routed);
    routed.put(HOST, &[backend::start("two")]);
    assert_eq!(get(routed.at, HOST), Some((200, "two 0".into())));
}

#[test]
fn a_route_that_was_removed_while_no_edge_ran_does_not_come_back() {
    let routed = Routed::new();
    let edge = routed.edge();
    let one = backend::start("one");
    routed.put(HOST, &[one]);
    routed.put("b.test", &[one]);
    is_kept(&routed, "b.test");
    drop(edge);
    routed.remove(&format!("b.test:{PORT}")).unwrap();
    let _edge = routed.edge();
    assert_eq!(get(routed.at, HOST), Some((200, "one 0".into())));
    assert_ne!(get(routed.at, "b.test").map(|(status, _)| status), Some(200));
}

#[test]
fn routes_of_a_lost_database_are_served_until_they_are_recorded_again() {
    let routed = Routed::new();
    let edge = routed.edge();
    let (one, two) = (backend::start("one"), backend::start("two"));
    routed.put(HOST, &[one]);
    is_kept(&routed, HOST);
    drop(edge);
    move_database_away(&routed);
    let edge = routed.edge();
    sees(routed.at, HOST, "one");
    assert!(edge.stderr().contains("not in the database"), "it says so: {}", edge.stderr());
    routed.put("b.test", &[two]);
    assert_eq!(get(routed.at, HOST), Some((200, "one 0".into())));
    routed.put(HOST, &[two]);
    assert_eq!(get(routed.at, HOST), Some((200, "two 0".into())));
    routed.remove(&format!("{HOST}:{PORT}")).unwrap();
    assert_ne!(get(routed.at, HOST).map(|(status, _)| status), Some(200));
}

#[test]
fn a_recorded_route_that_cannot_be_read_is_left_out_and_others_are_served() {
    let routed = Routed::new();
    let edge = routed.edge();
    let one = backend::start("one");
    routed.put(HOST, &[one]);
    routed.put("b.test", &[one]);
    let database = rusqlite::Connection::open(routed.database()).unwrap();
    let update = "UPDATE records SET value = '{\"listen\"' WHERE kind = 'route' AND name = 'b.test:8080'";
    assert_eq!(database.execute(update, []).unwrap(), 1);
    until("it is told", || edge.stderr().contains("b.test:8080").then_some(()));
    assert_eq!(get(routed.at, "b.test"), Some((200, "one 0".into())), "what was served stays");
    drop(edge);
    let _edge = routed.edge();
    assert_eq!(get(routed.at, HOST), Some((200, "one 0".into())));
    assert_ne!(get(routed.at, "b.test").map(|(status, _)| status), Some(200));
}

#[test]
fn a_full_disk_refuses_a_change_and_costs_no_request() {
    let routed = Routed::new();
    let _small = Small::mount(&routed);
    let (one, two) = (backend::start("one"), backend::start("two"));
    let _edge = routed.edge();
    routed.put(HOST, &[one]);
    let streams = Stream::all(routed.at, HOST);
    let mut junk = fs::File::create(routed.state().join("junk")).unwrap();
    std::io::copy(&mut std::io::repeat(0), &mut junk).expect_err("the file system is full");
    let mut large = route(HOST, &[two]);
    large["maintenance"] = serde_json::json!({ "text": "x".repeat(40_000) });
    let error = routed.try_put(large).unwrap_err();
    assert_eq!(error.code, effect::Code::DiskFull, "{error:?}");
    streams.iter().for_each(|stream| stream.goes_on(50));
    streams.into_iter().for_each(Stream::ended);
    drop(junk);
    fs::remove_file(routed.state().join("junk")).unwrap();
    routed.put(HOST, &[two]);
    assert_eq!(get(routed.at, HOST), Some((200, "two 0".into())));
    is_kept(&routed, &two.to_string());
}
