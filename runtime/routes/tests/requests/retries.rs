//! Requests that a back end did not take: which are tried again, and where.

use serde_json::json;

use super::backend::Backend;
use super::stage::{Raw, Stage, local};

async fn with_two(
    first: std::net::SocketAddr,
    second: std::net::SocketAddr,
    more: serde_json::Value,
) -> Stage {
    let stage = Stage::plain(first, more.clone()).await;
    let backends = json!({ "backends": [first.to_string(), second.to_string()] });
    let mut terms = more;
    terms.as_object_mut().unwrap().extend(backends.as_object().unwrap().clone());
    stage.route(first, json!({ "hostname": "*" }), terms);
    stage
}

async fn ask(client: &mut Raw, method: &str) -> String {
    let length = if method == "POST" { "content-length: 2\r\n" } else { "" };
    let body = if method == "POST" { "hi" } else { "" };
    client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\n{length}\r\n{body}").as_bytes()).await;
    let head = client.until("\r\n\r\n").await;
    let length: usize =
        head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
    while client.read.len() < length {
        tokio::io::AsyncReadExt::read_buf(&mut client.stream, &mut client.read).await.unwrap();
    }
    client.read.drain(..length);
    head
}

#[test]
fn a_back_end_that_is_not_there_costs_no_request() {
    local(async {
        let backend = Backend::fine().await;
        let stage = with_two(Backend::nobody().await, backend.address, json!({})).await;
        for method in ["GET", "POST", "GET", "POST", "POST", "POST"] {
            let mut client = stage.connect().await;
            assert!(ask(&mut client, method).await.starts_with("HTTP/1.1 200"), "{method}");
        }
        assert_eq!(backend.requests().len(), 6);
    });
}

#[test]
fn without_any_back_end_it_is_a_502() {
    local(async {
        let stage = with_two(Backend::nobody().await, Backend::nobody().await, json!({})).await;
        let mut client = stage.connect().await;
        let answer = ask(&mut client, "GET").await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && !answer.contains("connection: close"), "{answer}");
        assert_eq!(stage.proxy.figures()[0].failed, 1);
    });
}

#[test]
fn only_what_changes_nothing_is_tried_again_after_it_was_sent() {
    local(async {
        let closing = || Backend::new(|mut inside| async move { drop(inside.request().await) });
        for (method, status, tried) in [("GET", "200", 1), ("POST", "502", 1)] {
            let (bad, good) = (closing().await, Backend::fine().await);
            let stage = with_two(bad.address, good.address, json!({})).await;
            // Until it was the bad one's turn.
            while bad.connections() == 0 {
                let mut client = stage.connect().await;
                let answer = ask(&mut client, method).await;
                let expected = if bad.connections() == 0 { "200" } else { status };
                assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{method}: {answer}");
            }
            assert_eq!(bad.connections(), tried, "{method}");
        }
    });
}

#[test]
fn a_request_is_tried_as_often_as_the_route_says() {
    local(async {
        let bad = Backend::new(|mut inside| async move { drop(inside.request().await) }).await;
        let stage = Stage::plain(bad.address, json!({ "retries": 0 })).await;
        let mut client = stage.connect().await;
        assert!(ask(&mut client, "GET").await.starts_with("HTTP/1.1 502"));
        assert_eq!(bad.connections(), 1);
    });
}

/// The back end closes each connection after one answer, without saying so.
#[test]
fn a_connection_that_the_back_end_closed_is_not_used_again() {
    local(async {
        let backend = Backend::new(|mut inside| async move {
            inside.request().await;
            inside.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        })
        .await;
        let stage = Stage::plain(backend.address, json!({ "retries": 0 })).await;
        let mut client = stage.connect().await;
        for method in ["GET", "POST"].repeat(20) {
            assert!(ask(&mut client, method).await.starts_with("HTTP/1.1 200"), "{method}");
        }
    });
}

/// The back end closes the connection only when the second request is there: it cannot be seen before.
#[test]
fn a_connection_that_is_closed_just_then_costs_no_request() {
    local(async {
        let backend = Backend::new(|mut inside| async move {
            inside.request().await;
            inside.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            inside.request().await;
        })
        .await;
        let stage = Stage::plain(backend.address, json!({ "retries": 0 })).await;
        let mut client = stage.connect().await;
        for _ in 0..5 {
            assert!(ask(&mut client, "GET").await.starts_with("HTTP/1.1 200"));
        }
        assert_eq!(stage.proxy.figures()[0].failed, 0);
    });
}

#[test]
fn a_back_end_that_does_not_answer_is_a_504() {
    local(async {
        let backend = Backend::new(|mut inside| async move { while inside.more().await > 0 {} }).await;
        let stage = Stage::plain(backend.address, json!({ "timeouts": { "answer": "100ms" } })).await;
        let mut client = stage.connect().await;
        assert!(ask(&mut client, "GET").await.starts_with("HTTP/1.1 504"));
        assert_eq!(backend.connections(), 1, "it is not asked once more");
    });
}
