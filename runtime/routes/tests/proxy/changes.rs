//! What changes of routes do to what is under way, and what they leave alone.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use routes::route::Backend;
use serde_json::{Value, json};

use crate::support::{Echo, Running, client_hello, read_all, read_exactly};

fn route(backends: &[&Echo], drain: &str) -> Value {
    let backends: Vec<_> = backends.iter().map(|echo| echo.address.to_string()).collect();
    json!({ "mode": "l4", "backends": backends, "drain": drain })
}

/// Awaits something of the proxy in a test without a runtime.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(crate::support::PATIENCE, future).await.expect("in time") })
}

#[test]
fn a_connection_stays_when_its_route_changes_and_keeps_its_back_end() {
    let (running, first, second) = (Running::start(), Echo::start("first"), Echo::start("other"));
    running.put("*", route(&[&first], "1h"), None);
    let mut before = running.connect();
    assert_eq!(read_exactly(&mut before, 5), b"first");
    running.put("*", route(&[&first, &second], "1h"), None);
    wait(running.proxy.settled(&running.key("*")));
    let mut after = running.connect();
    assert_eq!(read_exactly(&mut after, 5), b"other", "the one with the fewest under way");
    before.write_all(b"still").unwrap();
    assert_eq!(read_exactly(&mut before, 5), b"still");
    assert_eq!(running.figures("*").requests, 2, "versions share their counts");
}

#[test]
fn what_runs_over_a_back_end_that_left_is_cut_at_the_hard_end() {
    let (running, first, second) = (Running::start(), Echo::start("first"), Echo::start("other"));
    running.put("*", route(&[&first, &second], "1h"), None);
    let mut clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = running.connect();
            let name = read_exactly(&mut client, 5);
            (name, client)
        })
        .collect();
    clients.sort_by(|one, other| one.0.cmp(&other.0));
    running.put("*", route(&[&second], "200ms"), None);
    let mut later = running.connect();
    assert_eq!(read_exactly(&mut later, 5), b"other", "new ones go on at once");
    wait(running.proxy.settled(&running.key("*")));
    let (on_first, on_second) = (&mut clients[0].1.try_clone().unwrap(), &mut clients[1].1);
    assert_eq!(read_all(on_first), b"", "it was cut");
    on_second.write_all(b"still").unwrap();
    assert_eq!(read_exactly(on_second, 5), b"still", "it was not");
}

#[test]
fn what_ends_by_itself_is_waited_for() {
    let (running, first, second) = (Running::start(), Echo::start("first"), Echo::start("other"));
    running.put("*", route(&[&first], "1h"), None);
    let mut client = running.connect();
    read_exactly(&mut client, 5);
    running.put("*", route(&[&second], "1h"), None);
    let is_settled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait(running.proxy.settled(&running.key("*")));
            is_settled.store(true, Ordering::SeqCst);
        });
        client.write_all(b"still").unwrap();
        assert_eq!(read_exactly(&mut client, 5), b"still");
        assert!(!is_settled.load(Ordering::SeqCst));
        drop(client);
    });
    running.until("*", |figures| figures.active == 0);
}

#[test]
fn removal_drains_its_own_route_only_with_a_hard_end() {
    let (running, echo) = (Running::start(), Echo::start("echo"));
    running.put("a.example.net", route(&[&echo], "300ms"), None);
    running.put("b.example.net", route(&[&echo], "300ms"), None);
    let open = |name: &str| {
        let hello = client_hello(name, &[]);
        let mut client = running.connect();
        client.write_all(&hello).unwrap();
        read_exactly(&mut client, 4 + hello.len());
        client
    };
    let (mut first, mut second) = (open("a.example.net"), open("b.example.net"));
    running.proxy.remove(&running.key("a.example.net"));
    running.proxy.remove(&running.key("a.example.net"));
    first.write_all(b"still").unwrap();
    assert_eq!(read_exactly(&mut first, 5), b"still", "what is under way has time");
    let mut late = running.connect();
    late.write_all(&client_hello("a.example.net", &[])).unwrap();
    assert_eq!(read_all(&mut late), [0x15, 3, 3, 0, 2, 2, 112], "nothing new begins");
    wait(running.proxy.settled(&running.key("a.example.net")));
    assert_eq!(read_all(&mut first), b"");
    second.write_all(b"still").unwrap();
    assert_eq!(read_exactly(&mut second, 5), b"still");
    assert_eq!(running.proxy.keys(), [running.key("b.example.net")]);
}

#[test]
fn draining_says_how_many_ended_and_how_many_were_cut() {
    let (running, first, second) = (Running::start(), Echo::start("first"), Echo::start("other"));
    running.put("*", route(&[&first, &second], "1h"), None);
    let mut clients: Vec<_> = (0..4).map(|_| running.connect()).collect();
    for client in &mut clients {
        read_exactly(client, 5);
    }
    let key = running.key("*");
    let at = Some(Backend(first.address));
    let drained = wait(running.proxy.drain(&key, at, Duration::from_millis(50))).unwrap();
    assert_eq!((drained.ended, drained.cut), (0, 2));
    running.until("*", |figures| figures.active == 2);
    drop(clients);
    let drained = wait(running.proxy.drain(&key, None, Duration::from_secs(60))).unwrap();
    assert_eq!(drained.cut, 0);
    let mut again = running.connect();
    assert_eq!(read_exactly(&mut again, 5).len(), 5, "what comes after is not cut");
    assert!(wait(running.proxy.drain(&running.key("other"), None, Duration::ZERO)).is_none());
}

#[test]
fn a_thousand_changes_disturb_no_connection_of_another_route() {
    let (running, echo, stays) = (Running::start(), Echo::start("echo"), Echo::start(""));
    running.put("stays.example.net", route(&[&stays], "0s"), None);
    let (over, exchanged) = (AtomicBool::new(false), AtomicUsize::new(0));
    let hello = client_hello("stays.example.net", &[]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            // One connection that stays open, and new ones all the while.
            scope.spawn(|| {
                let mut kept = running.connect();
                kept.write_all(&hello).unwrap();
                read_exactly(&mut kept, hello.len());
                while !over.load(Ordering::SeqCst) {
                    kept.write_all(b"ping").unwrap();
                    assert_eq!(read_exactly(&mut kept, 4), b"ping");
                    let mut new = running.connect();
                    new.write_all(&hello).unwrap();
                    assert_eq!(read_exactly(&mut new, hello.len()), hello);
                    exchanged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for number in 0..1000 {
            let name = format!("h{}.example.net", number % 100);
            match number % 3 {
                2 => running.proxy.remove(&running.key(&name)),
                _ => running.put(&name, route(&[&echo], "0s"), None),
            }
        }
        while exchanged.load(Ordering::SeqCst) < 20 {
            std::thread::yield_now();
        }
        over.store(true, Ordering::SeqCst);
    });
    let figures = running.until("stays.example.net", |figures| figures.active == 0);
    assert_eq!(figures.failed, 0);
}

#[test]
fn what_waits_when_its_route_is_removed_does_not_wait_on() {
    let (running, echo) = (Running::start(), Echo::start("echo"));
    let mut standing = running.standing("*", route(&[&echo], "1h"));
    standing.paused = true;
    running.proxy.put(standing, None).unwrap();
    let mut client = running.connect();
    running.until("*", |figures| figures.waiting == 1);
    running.proxy.remove(&running.key("*"));
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(echo.connections(), 0);
}
