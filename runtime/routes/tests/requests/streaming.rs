//! Bodies as they go by: both ways at once, without being held, and without an end that is near.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::backend::Backend;
use super::stage::{Stage, local};

#[test]
fn events_come_when_they_happen() {
    local(async {
        let (more, mut wanted) = tokio::sync::mpsc::unbounded_channel::<()>();
        let wanted = std::cell::RefCell::new(Some(std::mem::replace(
            &mut wanted,
            tokio::sync::mpsc::unbounded_channel().1,
        )));
        let backend = Backend::new(move |mut inside| {
            let mut wanted = wanted.borrow_mut().take().unwrap();
            async move {
                inside.request().await;
                inside.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
                let mut count = 0;
                while wanted.recv().await.is_some() {
                    count += 1;
                    inside.send(&format!("data: {count}\n\n")).await;
                }
            }
        })
        .await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let mut client = stage.connect().await;
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.until("\r\n\r\n").await;
        for count in 1..=5 {
            more.send(()).unwrap();
            client.until(&format!("data: {count}\n\n")).await;
        }
        drop(more);
        client.until("0\r\n\r\n").await;
    });
}

#[test]
fn an_answer_may_begin_before_the_request_has_ended() {
    local(async {
        let backend = Backend::new(|mut inside| async move {
            while !inside.read.ends_with(b"\r\n\r\n") {
                inside.more().await;
            }
            inside.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            inside.read.clear();
            while inside.more().await > 0 {
                let is_last = inside.read.ends_with(b"0\r\n\r\n");
                let read = String::from_utf8(std::mem::take(&mut inside.read)).unwrap();
                inside.send(&read).await;
                if is_last {
                    break;
                }
            }
        })
        .await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let mut client = stage.connect().await;
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
        client.until("\r\n\r\n").await;
        for word in ["one", "two", "six"] {
            client.send(format!("3\r\n{word}\r\n").as_bytes()).await;
            client.until(&format!("3\r\n{word}\r\n")).await;
        }
        client.send(b"0\r\n\r\n").await;
        client.until("0\r\n\r\n").await;
    });
}

#[test]
fn a_large_body_comes_whole_both_ways() {
    const OCTETS: usize = 5 << 20;
    local(async {
        let backend = Backend::new(|mut inside| async move {
            let request = inside.request().await.unwrap();
            let body = request.split_once("\r\n\r\n").unwrap().1.to_owned();
            inside.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())).await;
            inside.send(&body).await;
        })
        .await;
        let stage = Stage::secure(backend.address, json!({})).await;
        let mut tls = stage.tls("a.example", b"http/1.1").await;
        let body: String = (0..OCTETS).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\ncontent-length: {OCTETS}\r\n\r\n"
        );
        tls.write_all(head.as_bytes()).await.unwrap();
        tls.write_all(body.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut answer).await.unwrap();
        assert!(answer.ends_with(body.as_bytes()) && answer.len() < OCTETS + 200);
    });
}

#[test]
fn what_the_client_does_not_take_is_not_read() {
    const OCTETS: usize = 64 << 20;
    local(async {
        let written = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = std::rc::Rc::clone(&written);
        let backend = Backend::new(move |mut inside| {
            let counted = std::rc::Rc::clone(&counted);
            async move {
                inside.request().await;
                inside.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {OCTETS}\r\n\r\n")).await;
                while counted.get() < OCTETS {
                    match inside.stream.write(&[b'x'; 65536]).await {
                        Ok(octets) => counted.set(counted.get() + octets),
                        Err(_) => return,
                    }
                }
            }
        })
        .await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let mut client = stage.connect().await;
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.until("\r\n\r\n").await;
        // Until nothing moves any more: what is on its way is in buffers of the kernel.
        let mut before = usize::MAX;
        while before != written.get() {
            before = written.get();
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        assert!(written.get() < OCTETS / 2, "{} octets were taken", written.get());
    });
}

#[test]
fn a_client_that_waits_for_100_gets_it_from_the_back_end() {
    local(async {
        let backend = Backend::new(|mut inside| async move {
            while !inside.read.ends_with(b"\r\n\r\n") {
                inside.more().await;
            }
            assert!(String::from_utf8_lossy(&inside.read).contains("expect: 100-continue\r\n"));
            inside.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            inside.request().await;
            inside.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        })
        .await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let mut client = stage.connect().await;
        client.send(b"PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
        assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send(b"hello").await;
        client.until("ok").await;
    });
}

#[test]
fn an_answer_before_the_body_is_passed_on_and_ends_the_connection() {
    local(async {
        let backend = Backend::new(|mut inside| async move {
            inside.more().await;
            inside.send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno").await;
        })
        .await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let answer = stage
            .to_end(b"PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
            .await;
        assert_eq!(
            answer,
            "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
        );
    });
}

#[test]
fn a_back_end_is_told_that_the_client_is_gone() {
    local(async {
        let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
        let backend = Backend::new(move |mut inside| {
            let ended = ended.clone();
            async move {
                inside.request().await;
                inside.send("HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n").await;
                while inside.more().await > 0 {}
                ended.send(()).unwrap();
            }
        })
        .await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let mut client = stage.connect().await;
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.until("data: 1").await;
        drop(client);
        end.recv().await.unwrap();
    });
}
