//! Clients that mean harm: slow heads, resets without end, heads without end.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::backend::Backend;
use super::http2::{first_of_stream, frame, literal};
use super::stage::{Stage, local};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[test]
fn a_head_that_comes_too_slowly_is_not_waited_for() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let mut client = stage.connect().await;
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n").await;
        let (mut reading, mut writing) = client.stream.split();
        let feeding = async {
            // A field now and then keeps nothing open.
            while writing.write_all(b"x: 1\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            _ = reading.read_to_end(&mut answer) => {}
            () = feeding => {}
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert_eq!(backend.connections(), 0);
    });
}

#[test]
fn a_client_that_takes_back_all_it_asks_is_sent_away() {
    local(async {
        let backend = Backend::new(|mut inside| async move { while inside.more().await > 0 {} }).await;
        let stage = Stage::secure(backend.address, json!({})).await;
        let tls = stage.tls("a.example", b"h2").await;
        let (mut reading, mut writing) = tokio::io::split(tls);
        let mut sent = PREFACE.to_vec();
        frame(4, 0, 0, &[], &mut sent);
        writing.write_all(&sent).await.unwrap();
        let flooding = async {
            let mut block = Vec::new();
            for (name, value) in
                [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")]
            {
                literal(name, value, &mut block);
            }
            for at in 0..50_000_u32 {
                let mut sent = Vec::new();
                frame(1, 5, at * 2 + 1, &block, &mut sent);
                frame(3, 0, at * 2 + 1, &8_u32.to_be_bytes(), &mut sent);
                if writing.write_all(&sent).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            panic!("50,000 requests were taken back");
        };
        let told = async { while first_of_stream(&mut reading).await != 7 {} };
        tokio::select! {
            () = flooding => {}
            () = told => {}
        }
        assert!(backend.connections() < 1000, "{}", backend.connections());
    });
}

#[test]
fn a_head_that_never_ends_ends_the_connection() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::secure(backend.address, json!({})).await;
        let tls = stage.tls("a.example", b"h2").await;
        let (mut reading, mut writing) = tokio::io::split(tls);
        let mut sent = PREFACE.to_vec();
        frame(4, 0, 0, &[], &mut sent);
        let mut block = Vec::new();
        literal(":method", "GET", &mut block);
        frame(1, 1, 1, &block, &mut sent);
        writing.write_all(&sent).await.unwrap();
        let flooding = async {
            let mut block = Vec::new();
            literal("x-filler", &"x".repeat(100), &mut block);
            for _ in 0..1_000_000 {
                let mut sent = Vec::new();
                frame(9, 0, 1, &block, &mut sent);
                if writing.write_all(&sent).await.is_err() {
                    return;
                }
            }
            panic!("a million frames were taken");
        };
        let told = async { while first_of_stream(&mut reading).await != 7 {} };
        tokio::select! {
            () = flooding => {}
            () = told => {}
        }
        assert_eq!(backend.connections(), 0);
    });
}

#[test]
fn a_request_beyond_the_limit_of_the_route_is_refused_and_others_go_on() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::plain(backend.address, json!({ "limits": { "rate": 1, "burst": 2 } })).await;
        let mut client = stage.connect().await;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            client.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let head = client.until("\r\n\r\n").await;
            statuses.push(head[9..12].to_owned());
        }
        assert_eq!(statuses[..2], ["200", "200"]);
        assert_eq!(statuses[3], "429");
    });
}
