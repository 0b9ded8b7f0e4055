//! TLS that ends at the proxy: which certificate is shown to whom.

use std::io::{Read, Write};

use effect::Code;
use routes::driver::Material;
use routes::proxy::{Challenge, Proof};
use serde_json::{Value, json};

use crate::support::{Authority, Echo, Running, client_hello, handshake, nobody, read_all, shown};

fn route() -> Value {
    json!({ "cert": "one", "backends": [nobody().to_string()] })
}

/// An alert that ends a handshake: unrecognized_name.
const UNRECOGNIZED_NAME: &[u8] = &[0x15, 3, 3, 0, 2, 2, 112];

#[test]
fn each_name_is_shown_its_certificate() {
    let (running, authority) = (Running::start(), Authority::new());
    let (exact, wildcard) = (authority.issue("a.example.net"), authority.issue("*.example.net"));
    running.put("a.example.net", route(), Some(&exact));
    running.put("*.example.net", route(), Some(&wildcard));
    let client = authority.client(&[]);
    for (name, material) in
        [("a.example.net", &exact), ("A.Example.Net", &exact), ("b.example.net", &wildcard)]
    {
        let secure = handshake(&client, name, running.connect()).unwrap();
        assert_eq!(shown(&secure), material.chain[0], "{name}");
    }
}

#[test]
fn both_versions_of_tls_are_spoken_and_http2_is_preferred() {
    let (running, authority) = (Running::start(), Authority::new());
    running.put("a.example.net", route(), Some(&authority.issue("a.example.net")));
    for (offered, taken) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let secure = handshake(&authority.client(offered), "a.example.net", running.connect()).unwrap();
        assert_eq!(secure.conn.alpn_protocol(), taken, "{offered:?}");
    }
    let refused = handshake(&authority.client(&["spdy/3"]), "a.example.net", running.connect());
    assert!(refused.unwrap_err().to_string().contains("NoApplicationProtocol"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let secure = handshake(&authority.client_of(version), "a.example.net", running.connect()).unwrap();
        assert_eq!(secure.conn.protocol_version(), Some(version.version));
    }
}

#[test]
fn a_name_that_no_route_has_is_refused_with_an_alert() {
    let (running, authority) = (Running::start(), Authority::new());
    running.put("a.example.net", route(), Some(&authority.issue("a.example.net")));
    for hello in [client_hello("b.example.net", &[]), client_hello("127.0.0.1", &[])] {
        let mut client = running.connect();
        client.write_all(&hello).unwrap();
        assert_eq!(read_all(&mut client), UNRECOGNIZED_NAME);
    }
    running.put("*", route(), Some(&authority.issue("b.example.net")));
    assert!(handshake(&authority.client(&[]), "b.example.net", running.connect()).is_ok());
}

#[test]
fn a_certificate_is_swapped_without_a_new_socket_and_open_connections_stay() {
    let (running, authority) = (Running::start(), Authority::new());
    let (first, second) = (authority.issue("a.example.net"), authority.issue("a.example.net"));
    running.put("a.example.net", route(), Some(&first));
    // One that resumes a session is not shown a certificate.
    let client = || authority.client(&[]);
    let mut before = handshake(&client(), "a.example.net", running.connect()).unwrap();
    running.put("a.example.net", route(), Some(&second));
    let after = handshake(&client(), "a.example.net", running.connect()).unwrap();
    assert_eq!((shown(&before), shown(&after)), (first.chain[0].clone(), second.chain[0].clone()));
    before.write_all(b"GET / HTTP/1.1\r\nhost: a.example.net\r\n\r\n").unwrap();
    assert!(before.read(&mut [0; 16]).is_ok_and(|count| count > 0), "it is still served");
}

#[test]
fn sessions_are_resumed() {
    let (running, authority) = (Running::start(), Authority::new());
    running.put("a.example.net", route(), Some(&authority.issue("a.example.net")));
    let client = authority.client(&["http/1.1"]);
    let kinds: Vec<_> = (0..2)
        .map(|_| {
            let mut secure = handshake(&client, "a.example.net", running.connect()).unwrap();
            // Tickets come with the first octets.
            secure.write_all(b"GET / HTTP/1.1\r\nhost: a.example.net\r\nconnection: close\r\n\r\n").unwrap();
            read_all(&mut secure);
            secure.conn.handshake_kind().unwrap()
        })
        .collect();
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

#[test]
fn a_key_that_does_not_fit_is_refused_and_what_was_served_stays() {
    let (running, authority) = (Running::start(), Authority::new());
    let (good, other) = (authority.issue("a.example.net"), authority.issue("a.example.net"));
    running.put("a.example.net", route(), Some(&good));
    let mixed = Material { chain: other.chain.clone(), key: good.key.clone() };
    let garbage = Material { chain: good.chain.clone(), key: b"no key".to_vec().into() };
    let empty = Material { chain: Vec::new(), key: good.key.clone() };
    for bad in [Some(mixed), Some(garbage), Some(empty), None] {
        let refused = running.proxy.put(running.standing("a.example.net", route()), bad).unwrap_err();
        assert_eq!(refused.code, Code::RouteTerms);
    }
    let secure = handshake(&authority.client(&[]), "a.example.net", running.connect()).unwrap();
    assert_eq!(shown(&secure), good.chain[0]);
}

#[test]
fn a_plain_request_is_told_that_the_port_takes_tls() {
    let (running, authority) = (Running::start(), Authority::new());
    running.put("a.example.net", route(), Some(&authority.issue("a.example.net")));
    let mut client = running.connect();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.example.net\r\n\r\n").unwrap();
    let answer = String::from_utf8(read_all(&mut client)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("This port takes TLS\n"), "{answer}");
}

#[test]
fn bytes_and_requests_share_a_port() {
    let (running, authority, echo) = (Running::start(), Authority::new(), Echo::start("echo"));
    running.put("a.example.net", route(), Some(&authority.issue("a.example.net")));
    running.put("b.example.net", json!({ "mode": "l4", "backends": [echo.address.to_string()] }), None);
    assert!(handshake(&authority.client(&[]), "a.example.net", running.connect()).is_ok());
    let mut through = running.connect();
    through.write_all(&client_hello("b.example.net", &[])).unwrap();
    assert_eq!(crate::support::read_exactly(&mut through, 4), b"echo");
}

#[test]
fn a_certificate_authority_finds_the_proof_that_is_offered() {
    let (running, authority) = (Running::start(), Authority::new());
    let (own, proof) = (authority.issue("a.example.net"), authority.issue("a.example.net"));
    running.put("a.example.net", route(), Some(&own));
    let hostname = "a.example.net".to_owned();
    let offered = Proof::TlsAlpn01 { hostname, material: proof.clone() };
    running.proxy.offer(Challenge { id: "one".into(), proof: offered });
    let ask = || handshake(&authority.client(&["acme-tls/1"]), "a.example.net", running.connect());
    let secure = ask().unwrap();
    assert_eq!(shown(&secure), proof.chain[0]);
    assert_eq!(secure.conn.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    let other = handshake(&authority.client(&["h2"]), "a.example.net", running.connect()).unwrap();
    assert_eq!(shown(&other), own.chain[0], "others are not shown it");
    running.proxy.withdraw("one");
    assert!(ask().is_err());
}
