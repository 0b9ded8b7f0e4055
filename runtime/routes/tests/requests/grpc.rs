//! gRPC from end to end: HTTP/2 on both sides, trailers, streams both ways.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::json;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::net::TcpListener;

use super::stage::{Stage, local};

/// Gives each message back at once, and how it ended behind the last one. Keeps the heads that came.
async fn service(heads: Rc<RefCell<Vec<http::request::Parts>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let heads = Rc::clone(&heads);
            tokio::task::spawn_local(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let (head, body) = request.into_parts();
                    heads.borrow_mut().push(head);
                    tokio::task::spawn_local(echo(body, respond));
                }
            });
        }
    });
    address
}

async fn echo(mut body: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut answer = respond.send_response(head, false).unwrap();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        answer.send_data(data, false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    answer.send_trailers(trailers).unwrap();
}

fn call() -> Request<()> {
    Request::post("https://a.example/package.Service/Method")
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

#[test]
fn a_call_streams_both_ways_and_ends_with_its_status() {
    local(async {
        let heads = Rc::new(RefCell::new(Vec::new()));
        let address = service(Rc::clone(&heads)).await;
        let stage = Stage::secure(address, json!({ "protocol": "http2" })).await;
        let mut sender = stage.http2().await;
        for _ in 0..3 {
            let (answer, mut call) = sender.send_request(call(), false).unwrap();
            let mut body = answer.await.unwrap().into_body();
            for message in ["one", "two", "three"] {
                call.send_data(Bytes::from_static(message.as_bytes()), false).unwrap();
                let given = body.data().await.unwrap().unwrap();
                body.flow_control().release_capacity(given.len()).unwrap();
                assert_eq!(given, message);
            }
            call.send_data(Bytes::new(), true).unwrap();
            assert!(body.data().await.is_none());
            let trailers = body.trailers().await.unwrap().unwrap();
            assert_eq!(trailers["grpc-status"], "0");
            sender = sender.ready().await.unwrap();
        }
        let heads = heads.borrow();
        assert_eq!(heads[0].headers["te"], "trailers");
        assert_eq!(heads[0].headers["x-forwarded-proto"], "https");
        assert_eq!(heads[0].uri.path(), "/package.Service/Method");
        assert_eq!(heads[0].uri.authority().unwrap(), "a.example");
    });
}

#[test]
fn a_call_that_is_given_up_ends_at_the_service() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, end) = tokio::sync::oneshot::channel();
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            let answer = respond.send_response(Response::new(()), false).unwrap();
            tokio::task::spawn_local(async move {
                let mut answer = answer;
                let reason = std::future::poll_fn(|context| answer.poll_reset(context)).await;
                ended.send(reason.is_ok()).unwrap();
            });
            while connection.accept().await.is_some() {}
        });
        let stage = Stage::secure(address, json!({ "protocol": "http2" })).await;
        let mut sender = stage.http2().await;
        let (answer, call) = sender.send_request(call(), false).unwrap();
        let body = answer.await.unwrap().into_body();
        drop((call, body));
        assert!(end.await.unwrap());
    });
}

#[test]
fn http_1_reaches_a_service_that_speaks_http_2() {
    local(async {
        let heads = Rc::new(RefCell::new(Vec::new()));
        let address = service(Rc::clone(&heads)).await;
        let stage = Stage::plain(address, json!({ "protocol": "http2" })).await;
        let answer = stage
            .to_end(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("5\r\nhello\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{answer}");
    });
}
