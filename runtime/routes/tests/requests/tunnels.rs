//! Connections that change their protocol: only after the back end agreed, then bytes both ways.

use serde_json::json;
use std::time::Duration;

use routes::Key;

use super::backend::Backend;
use super::stage::{Stage, local};

const ASK: &[u8] =
    b"GET /ws HTTP/1.1\r\nhost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                     sec-websocket-key: x\r\n\r\n";

/// Agrees, says `welcome` at once, and then gives back what it gets.
async fn echo() -> Backend {
    Backend::new(|mut inside| async move {
        let request = inside.request().await.unwrap();
        assert!(request.contains("connection: upgrade\r\nupgrade: websocket\r\n"), "{request}");
        let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nx: 1\r\n\r\nwelcome";
        inside.send(agreed).await;
        while inside.more().await > 0 {
            let read = String::from_utf8(std::mem::take(&mut inside.read)).unwrap();
            inside.send(&read).await;
        }
        inside.send("bye").await;
    })
    .await
}

#[test]
fn bytes_go_both_ways_after_both_agreed() {
    local(async {
        let backend = echo().await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let mut client = stage.connect().await;
        // What comes right behind the request is already for the tunnel.
        client.send(&[ASK, b"early"].concat()).await;
        let head = client.until("\r\n\r\n").await;
        assert_eq!(
            head,
            "HTTP/1.1 101 Switching Protocols\r\nx: 1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        );
        client.until("welcome").await;
        client.until("early").await;
        let large = "x".repeat(1 << 20);
        let Stage { proxy, .. } = &stage;
        assert_eq!(proxy.figures()[0].tunnels, 1);
        let (mut reading, mut writing) = client.stream.split();
        let send = tokio::io::AsyncWriteExt::write_all(&mut writing, large.as_bytes());
        let mut back = vec![0; large.len()];
        let (sent, read) = tokio::join!(send, tokio::io::AsyncReadExt::read_exact(&mut reading, &mut back));
        sent.unwrap();
        read.unwrap();
        assert!(back.iter().all(|byte| *byte == b'x'));
        // One direction may end before the other.
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
        assert_eq!(client.rest().await, "bye");
    });
}

#[test]
fn a_back_end_that_does_not_agree_answers_as_ever() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let mut client = stage.connect().await;
        client.send(&[ASK, b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n"].concat()).await;
        client.until("ok").await;
        client.until("ok").await;
        assert_eq!(backend.requests().len(), 2, "what followed is a request, not what a tunnel carries");
    });
}

#[test]
fn a_tunnel_is_cut_at_the_hard_end_of_its_route() {
    local(async {
        let backend = echo().await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let mut client = stage.connect().await;
        client.send(ASK).await;
        client.until("welcome").await;
        let key: Key = "*:8443".parse().unwrap();
        let drained = stage.proxy.drain(&key, None, Duration::from_millis(20)).await.unwrap();
        assert_eq!(drained.cut, 1);
        assert_eq!(client.rest().await, "");
        stage.proxy.settled(&key).await;
    });
}

#[test]
fn a_tunnel_in_which_nothing_happens_ends() {
    local(async {
        let backend = echo().await;
        let stage = Stage::plain(backend.address, json!({ "timeouts": { "idle": "200ms" } })).await;
        let mut client = stage.connect().await;
        client.send(ASK).await;
        client.until("welcome").await;
        assert_eq!(client.rest().await, "");
    });
}
