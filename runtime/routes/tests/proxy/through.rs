//! Connections whose bytes go through.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};

use serde_json::json;

use crate::support::{Authority, Echo, Running, client_hello, handshake, nobody, read_all, read_exactly};

#[test]
fn a_client_hello_in_single_octets_finds_its_back_end_and_arrives_whole() {
    let (running, first, second) = (Running::start(), Echo::start("first"), Echo::start("other"));
    running.put("a.example.net", json!({ "mode": "l4", "backends": [first.address.to_string()] }), None);
    running.put("b.example.net", json!({ "mode": "l4", "backends": [second.address.to_string()] }), None);
    for (name, answer) in [("a.example.net", "first"), ("b.example.net", "other")] {
        let hello = client_hello(name, &[]);
        let mut client = running.connect();
        for octet in &hello {
            client.write_all(std::slice::from_ref(octet)).unwrap();
        }
        assert_eq!(read_exactly(&mut client, 5), answer.as_bytes());
        assert_eq!(read_exactly(&mut client, hello.len()), hello);
    }
}

#[test]
fn a_long_client_hello_in_two_parts_finds_its_back_end() {
    let (running, echo) = (Running::start(), Echo::start("echo"));
    running.put("a.example.net", json!({ "mode": "l4", "backends": [echo.address.to_string()] }), None);
    let protocols: Vec<_> = (0..60).map(|number| vec![b'a' + number % 26; 200]).collect();
    let hello = client_hello("a.example.net", &protocols);
    assert!(hello.len() > 12_000);
    let mut client = running.connect();
    let (head, rest) = hello.split_at(1500);
    client.write_all(head).unwrap();
    client.write_all(rest).unwrap();
    assert_eq!(read_exactly(&mut client, 4), b"echo");
    assert_eq!(read_exactly(&mut client, hello.len()), hello);
}

#[test]
fn a_client_hello_that_does_not_end_is_given_up() {
    let (running, echo) = (Running::start(), Echo::start("echo"));
    running.put("a.example.net", json!({ "mode": "l4", "backends": [echo.address.to_string()] }), None);
    let mut client = running.connect();
    // A handshake message of 16 MiB, in records of the greatest length.
    let mut record = vec![0x16, 3, 1, 0x40, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    let _ = client.write_all(&record).and_then(|()| client.write_all(&record));
    read_all(&mut client);
    assert_eq!(echo.connections(), 0);
}

#[test]
fn the_back_end_speaks_tls_with_the_client() {
    let (running, authority) = (Running::start(), Authority::new());
    let material = authority.issue("a.example.net");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(material.key.to_vec()).into();
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(material.chain, key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut session = rustls::ServerConnection::new(config.into()).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream).unwrap();
        }
        let mut secure = rustls::StreamOwned::new(session, stream);
        let asked = read_exactly(&mut secure, 5);
        secure.write_all(&asked).unwrap();
        secure.flush().unwrap();
    });
    running.put("*.example.net", json!({ "mode": "l4", "backends": [address.to_string()] }), None);
    let mut secure = handshake(&authority.client(&[]), "a.example.net", running.connect()).unwrap();
    secure.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&mut secure, 5), b"hello");
    server.join().unwrap();
}

#[test]
fn one_side_may_end_before_the_other() {
    let (running, echo) = (Running::start(), Echo::start("echo"));
    running.put("*", json!({ "mode": "l4", "backends": [echo.address.to_string()] }), None);
    let mut client = running.connect();
    assert_eq!(read_exactly(&mut client, 4), b"echo", "with a port of its own the server may speak first");
    let sent = vec![7; 1 << 20];
    let mut writer = client.try_clone().unwrap();
    let octets = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&octets).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(read_all(&mut client) == sent);
    writing.join().unwrap();
    let figures = running.until("*", |figures| figures.active == 0);
    assert_eq!((figures.requests, figures.received, figures.sent), (1, 1 << 20, (1 << 20) + 4));
}

#[test]
fn another_back_end_is_tried_and_one_that_fails_again_and_again_is_left_out() {
    let (running, echo, dead) = (Running::start(), Echo::start("echo"), nobody());
    let backends = [dead.to_string(), echo.address.to_string()];
    running.put("*", json!({ "mode": "l4", "backends": backends }), None);
    let mut left_out = false;
    for _ in 0..20 {
        assert_eq!(read_exactly(&mut running.connect(), 4), b"echo");
        left_out |= running.figures("*").backends.iter().any(|backend| !backend.healthy);
    }
    let figures = running.figures("*");
    let dead = figures.backends.iter().find(|backend| backend.address.0 == dead).unwrap();
    assert!(left_out && !dead.healthy && dead.failed == 5, "{dead:#?}");
    assert!(dead.problem.as_ref().unwrap().contains("5 failures in a row"), "{dead:#?}");
}

#[test]
fn where_none_is_well_all_are_tried() {
    let (running, dead) = (Running::start(), nobody());
    running.put("*", json!({ "mode": "l4", "backends": [dead.to_string()] }), None);
    for _ in 0..6 {
        assert_eq!(read_all(&mut running.connect()), b"");
    }
    assert!(!running.figures("*").backends[0].healthy);
    let _echo = Echo::at(TcpListener::bind(dead).unwrap(), "echo");
    assert_eq!(read_exactly(&mut running.connect(), 4), b"echo");
}

#[test]
fn a_connection_on_which_nothing_happens_is_closed() {
    let (running, echo) = (Running::start(), Echo::start("echo"));
    let route = json!({
        "mode": "l4", "backends": [echo.address.to_string()], "timeouts": { "idle": "200ms" },
    });
    running.put("*", route, None);
    let mut client = running.connect();
    assert_eq!(read_exactly(&mut client, 4), b"echo");
    let mut rest = Vec::new();
    assert_eq!(client.read_to_end(&mut rest).unwrap(), 0);
}

#[test]
fn connections_go_to_the_back_end_with_the_fewest() {
    let (running, first, second) = (Running::start(), Echo::start("echo"), Echo::start("echo"));
    let backends = [first.address.to_string(), second.address.to_string()];
    running.put("*", json!({ "mode": "l4", "backends": backends }), None);
    let mut clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = running.connect();
            read_exactly(&mut client, 4);
            client
        })
        .collect();
    assert_eq!((first.connections(), second.connections()), (5, 5));
    clients.truncate(0);
    running.until("*", |figures| figures.active == 0);
}
