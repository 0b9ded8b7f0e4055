//! An edge hands its sockets to its successor: no request is lost on the way, and what runs goes on where it began.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::backend;
use super::load::{Connection, Stream, get, sees};
use super::place::{Routed, route};
use crate::harness::until;
use crate::processes;

const HOST: &str = "a.test";

#[test]
fn five_successors_take_over_without_a_lost_request() {
    const TIMES: usize = 5;
    let routed = Routed::new();
    let mut edges = vec![routed.edge()];
    routed.put(HOST, &[backend::start("one"), backend::start("two")]);
    let streams = Stream::all(routed.at, HOST);
    for number in 1..=TIMES {
        streams.iter().for_each(|stream| stream.goes_on(20));
        let next = routed.edge();
        assert_eq!(routed.process(), Some(next.pid()), "successor {number} of {TIMES} answers");
        edges.push(next);
    }
    streams.iter().for_each(|stream| stream.goes_on(20));
    streams.into_iter().for_each(Stream::ended);
    let last = edges.pop();
    for edge in edges {
        let end = edge.end();
        assert_eq!(end.code, Some(0), "{end}");
    }
    drop(last);
}

#[test]
fn a_successor_has_all_ports_of_its_predecessor() {
    const PORTS: u16 = 300;
    let routed = Routed::new();
    let one = backend::start("one");
    let first = routed.edge();
    for port in 0..PORTS {
        let mut other = route(HOST, &[one]);
        other["listen"] = json!(9000 + port);
        routed.try_put(other).unwrap();
    }
    let _next = routed.edge();
    assert_eq!(first.end().code, Some(0));
    for port in 0..PORTS {
        assert_eq!(get(routed.port(9000 + port), HOST), Some((200, "one 0".into())), "port {port}");
    }
    routed.put(HOST, &[one]);
}

#[test]
fn ports_that_are_opened_while_edges_take_turns_are_never_refused() {
    const TURNS: usize = 4;
    const FIRST: u16 = 9000;
    let routed = Routed::new();
    let one = backend::start("one");
    let mut edges = vec![routed.edge()];
    let opened = AtomicU16::new(0);
    let open = || {
        let number = opened.load(Ordering::Relaxed);
        let mut other = route(HOST, &[one]);
        other["listen"] = json!(FIRST + number);
        // Where one edge leaves and another begins, a change may have to be made again.
        if routed.try_put(other).is_ok() {
            opened.store(number + 1, Ordering::Relaxed);
        }
    };
    let is_over = AtomicBool::new(false);
    let (at, number) = (|port| routed.port(port), || opened.load(Ordering::Relaxed));
    let refused = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut refused = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                // The newest are those that the next edge may not know of yet.
                let newest = FIRST + number().saturating_sub(8)..FIRST + number();
                refused.extend(newest.filter(|port| get(at(*port), HOST) != Some((200, "one 0".into()))));
                std::thread::sleep(Duration::from_millis(1));
            }
            refused
        });
        for _ in 0..TURNS {
            open();
            let next = routed.start(&["edge", "-v"]);
            until("the next edge answers", || {
                open();
                (routed.process() == Some(next.pid())).then_some(())
            });
            edges.push(next);
        }
        is_over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(refused.is_empty(), "{refused:?} of {} ports", number());
    for port in FIRST..FIRST + number() {
        assert_eq!(get(routed.port(port), HOST), Some((200, "one 0".into())), "port {port}");
    }
    assert!(number() > 2 * u16::try_from(TURNS).unwrap(), "{} were opened meanwhile", number());
}

#[test]
fn requests_go_on_while_the_daemon_is_killed_again_and_again() {
    let routed = Routed::new();
    let mut daemon = routed.serve();
    let edge = routed.process().expect("an edge answers");
    routed.put(HOST, &[backend::start("one")]);
    let streams = Stream::all(routed.at, HOST);
    for number in 0..5 {
        streams.iter().for_each(|stream| stream.goes_on(20));
        daemon.kill();
        streams.iter().for_each(|stream| stream.goes_on(20));
        routed.put("b.test", &[backend::start("other")]);
        assert_eq!(routed.process(), Some(edge), "kill {number}: the edge lives on");
        daemon = routed.serve();
    }
    streams.into_iter().for_each(Stream::ended);
}

#[test]
fn a_daemon_has_another_edge_serve_what_is_recorded_where_one_was_killed() {
    let routed = Routed::new();
    let _daemon = routed.serve();
    routed.put(HOST, &[backend::start("one")]);
    for _ in 0..3 {
        let edge = routed.process().expect("an edge answers");
        processes::signal(edge, Signal::KILL);
        until("another edge answers", || routed.process().filter(|process| *process != edge));
        sees(routed.at, HOST, "one");
    }
}

#[test]
fn a_daemon_with_other_settings_has_a_successor_serve() {
    let routed = Routed::new();
    let mut daemon = routed.serve();
    routed.put(HOST, &[backend::start("one")]);
    let first = routed.process();
    let streams = Stream::all(routed.at, HOST);
    streams.iter().for_each(|stream| stream.goes_on(20));
    daemon.kill();
    routed.settle_for("linger = \"1h\"");
    let _daemon = routed.serve();
    assert_ne!(routed.process(), first);
    streams.iter().for_each(|stream| stream.goes_on(20));
    streams.into_iter().for_each(Stream::ended);
}

#[test]
fn what_runs_over_an_edge_before_is_cut_when_its_back_end_goes() {
    let routed = Routed::new();
    let first = routed.edge();
    let (one, two) = (backend::start("one"), backend::start("two"));
    routed.put(HOST, &[one]);
    let mut tunnel = Connection::open(routed.at).unwrap();
    tunnel.upgrade(HOST).unwrap();
    let _next = routed.edge();
    assert_eq!(tunnel.echo("still here").unwrap(), "still here");
    let mut other = route(HOST, &[two]);
    other["drain"] = json!("300ms");
    routed.try_put(route(HOST, &[one])).unwrap();
    assert_eq!(tunnel.echo("as before").unwrap(), "as before");
    let mut short = route(HOST, &[one]);
    short["drain"] = json!("300ms");
    routed.try_put(short).unwrap();
    routed.try_put(other).unwrap();
    assert!(tunnel.echo("not any more").is_err(), "it was cut before the change was done");
    assert_eq!(first.end().code, Some(0));
}

#[test]
fn figures_are_shown_by_the_edge_that_serves() {
    let routed = Routed::new();
    let shown = routed.port(9100);
    routed.settle_for(&format!("metrics = \"{shown}\""));
    let first = routed.edge();
    routed.put(HOST, &[backend::start("one")]);
    let mut tunnel = Connection::open(routed.at).unwrap();
    tunnel.upgrade(HOST).unwrap();
    let _next = routed.edge();
    assert_eq!(get(routed.at, HOST), Some((200, "one 0".into())));
    let text = until("figures are shown", || {
        let (status, text) = Connection::open(shown).ok()?.ask("GET /metrics", "x").ok()?;
        (status == 200 && text.contains("mcrun_route_requests_total")).then_some(text)
    });
    assert!(text.contains(HOST), "{text}");
    assert_eq!(tunnel.echo("still here").unwrap(), "still here");
    drop(tunnel);
    assert_eq!(first.end().code, Some(0));
}
