//! Requests that wait on a paused route, and clients that do not wait as long.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};

use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

use crate::backend;
use crate::program::command;
use crate::stage::{HOST, Stage};
use crate::support::{client_hello, handshake, read_all};

fn waiting(stage: &Stage, number: u64) {
    stage.running.until(HOST, |figures| figures.waiting == number);
}

fn pause(stage: &Stage, paused: bool, more: Value, is_secure: bool) {
    let mut terms = json!({ "backends": [backend::start().to_string()], "limits": { "waiting": 2 } });
    terms.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    if is_secure {
        terms["cert"] = json!("a");
    }
    let mut standing = stage.running.standing(HOST, terms);
    standing.paused = paused;
    let certificate = is_secure.then(|| stage.authority.issue(HOST));
    stage.running.proxy.put(standing, certificate).unwrap();
}

#[test]
fn one_that_leaves_frees_its_place_whatever_of_its_request_was_read() {
    let stage = Stage::new();
    pause(&stage, true, json!({}), false);
    let head = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n");
    // Whose kernel still has something to send has not left as far as anybody can tell: so much arrives by itself.
    let long = "x".repeat(30_000);
    for request in [
        format!("{head}\r\n"),
        format!("{head}content-length: 10\r\n\r\n12345"),
        format!("{head}content-length: 200000\r\n\r\n{long}"),
        format!("{head}\r\n{head}\r\n"),
    ] {
        let clients: Vec<TcpStream> = (0..2)
            .map(|_| {
                let mut client = stage.running.connect();
                client.write_all(request.as_bytes()).unwrap();
                client
            })
            .collect();
        waiting(&stage, 2);
        drop(clients);
        waiting(&stage, 0);
    }
    let mut patient = stage.running.connect();
    patient.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).unwrap();
    waiting(&stage, 1);
    pause(&stage, false, json!({}), false);
    let answer = String::from_utf8(read_all(&mut patient)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let figures = stage.running.figures(HOST);
    assert_eq!((figures.requests, figures.failed), (1, 0), "who left was not served, and is no failure");
}

#[test]
fn one_that_leaves_by_tls_or_takes_its_stream_back_frees_its_place() {
    let stage = Stage::new();
    pause(&stage, true, json!({}), true);
    let client = stage.authority.client(&["http/1.1"]);
    let mut secure: StreamOwned<ClientConnection, TcpStream> =
        handshake(&client, HOST, stage.running.connect()).unwrap();
    secure.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).unwrap();
    waiting(&stage, 1);
    secure.conn.send_close_notify();
    secure.flush().unwrap();
    drop(secure);
    waiting(&stage, 0);
    let (to, url) = (format!("{HOST}:{}:{}", stage.port(), stage.running.address), stage.url("https", "/"));
    for version in ["--http2", "--http1.1"] {
        let mut curl = command("curl");
        curl.args(["--silent", "--noproxy", "*", "--insecure", version, "--connect-to", &to, &url]);
        let mut curl = curl.spawn().unwrap();
        waiting(&stage, 1);
        curl.kill().unwrap();
        curl.wait().unwrap();
        waiting(&stage, 0);
    }
}

#[test]
fn a_connection_that_goes_through_is_let_go_as_well_unless_it_may_still_listen() {
    let stage = Stage::new();
    pause(&stage, true, json!({ "mode": "l4" }), false);
    let mut client = stage.running.connect();
    client.write_all(&client_hello(HOST, &[])).unwrap();
    waiting(&stage, 1);
    drop(client);
    waiting(&stage, 0);
    stage.running.proxy.remove(&stage.running.key(HOST));

    let through = json!({ "mode": "l4", "backends": [backend::start().to_string()] });
    let mut standing = stage.running.standing("*", through.clone());
    standing.paused = true;
    stage.running.proxy.put(standing, None).unwrap();
    let mut client = stage.running.connect();
    client.write_all(b"GET /said HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    stage.running.until("*", |figures| figures.waiting == 1);
    // It is looked after several times in that while.
    std::thread::sleep(std::time::Duration::from_millis(800));
    stage.running.put("*", through, None);
    let answer = String::from_utf8(read_all(&mut client)).unwrap();
    assert!(answer.ends_with("GET /said 0 "), "{answer}");
}
