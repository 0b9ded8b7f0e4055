//! HTTP/2 from clients, on its way to back ends that speak HTTP/1: nothing of it becomes more than it was.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Request};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::backend::Backend;
use super::stage::{Stage, local};

const TOLD: &str = "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: a.example\r\nx-request-id: ID\r\n";

fn get(path: &str) -> http::request::Builder {
    Request::get(format!("https://a.example{path}")).version(http::Version::HTTP_2)
}

/// The status and the body of the answer.
async fn ask(sender: &mut SendRequest<Bytes>, request: Request<()>, body: Option<&[u8]>) -> (u16, Vec<u8>) {
    let (answer, mut stream) =
        sender.clone().ready().await.unwrap().send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        stream.send_data(Bytes::copy_from_slice(body), true).unwrap();
    }
    let (head, mut body) = answer.await.unwrap().into_parts();
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        whole.extend_from_slice(&data);
    }
    (head.status.as_u16(), whole)
}

#[test]
fn requests_are_passed_on_as_http_1_has_them() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::secure(backend.address, json!({})).await;
        let mut sender = stage.http2().await;
        let cookies = get("/x?y").header("cookie", "a=1").header("cookie", "b=2").header("te", "trailers");
        assert_eq!(ask(&mut sender, cookies.body(()).unwrap(), None).await, (200, b"ok".to_vec()));
        let post = Request::post("https://a.example/").version(http::Version::HTTP_2);
        assert_eq!(ask(&mut sender, post.body(()).unwrap(), Some(b"hello")).await.0, 200);
        let long =
            Request::post("https://a.example/").version(http::Version::HTTP_2).header("content-length", "5");
        assert_eq!(ask(&mut sender, long.body(()).unwrap(), Some(b"hello")).await.0, 200);
        let told = |head: &str, framing: &str| format!("{head}{TOLD}{framing}\r\n");
        assert_eq!(
            backend.requests(),
            [
                told("GET /x?y HTTP/1.1\r\nhost: a.example\r\ncookie: a=1; b=2\r\n", ""),
                told("POST / HTTP/1.1\r\nhost: a.example\r\n", "transfer-encoding: chunked\r\n")
                    + "5\r\nhello\r\n0\r\n\r\n",
                told("POST / HTTP/1.1\r\nhost: a.example\r\n", "content-length: 5\r\n") + "hello",
            ]
        );
    });
}

#[test]
fn requests_that_http_1_would_read_otherwise_are_refused() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::secure(backend.address, json!({})).await;
        let mut sender = stage.http2().await;
        let odd = |name: &'static str, value: &'static [u8]| {
            get("/").header(name, HeaderValue::from_bytes(value).unwrap())
        };
        for (what, status, request) in [
            ("authority and host differ", 400, odd("host", b"b.example")),
            ("two hosts", 400, odd("host", b"a.example").header("host", "a.example")),
            ("two lengths", 400, odd("content-length", b"5").header("content-length", "5")),
            ("a length that is none", 400, odd("content-length", b"+5")),
            ("a length without a body", 400, odd("content-length", b"5")),
            ("an expectation", 417, odd("expect", b"200-ok")),
            ("a method", 405, get("/").method("TRACE")),
            ("another method", 501, get("/").method("GETPOST")),
            ("a user", 400, Request::get("https://u@a.example/").version(http::Version::HTTP_2)),
        ] {
            let sent = sender.clone().ready().await.unwrap().send_request(request.body(()).unwrap(), true);
            let given = sent.unwrap().0.await;
            // Some are refused by the reset of their stream already.
            let is_refused = given.as_ref().map_or(true, |answer| answer.status().as_u16() == status);
            assert!(is_refused, "{what}: {given:?}");
        }
        assert_eq!(backend.connections(), 0, "{:?}", backend.requests());
        assert_eq!(
            ask(&mut sender, get("/").body(()).unwrap(), None).await.0,
            200,
            "the connection lives on"
        );
    });
}

/// Frames as no client sends them: fields that would end a line of HTTP/1, and those that HTTP/2 does not have.
#[test]
fn fields_that_http_2_must_not_have_end_the_stream() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::secure(backend.address, json!({})).await;
        for (what, fields) in [
            ("a line in a value", vec![("x", "1\r\nhost: b")]),
            ("a NUL in a value", vec![("x", "1\0")]),
            ("a line in a name", vec![("x\r\ny", "1")]),
            ("a name in capitals", vec![("X-Upper", "1")]),
            ("a name with a colon", vec![("x:y", "1")]),
            ("a name with a space", vec![("x y", "1")]),
            ("a transfer encoding", vec![("transfer-encoding", "chunked")]),
            ("a connection", vec![("connection", "close")]),
            ("an upgrade", vec![("upgrade", "websocket")]),
            ("a proxy's connection", vec![("proxy-connection", "close")]),
            ("te that is more", vec![("te", "gzip")]),
            ("a pseudo-field behind fields", vec![("x", "1"), (":path", "/b")]),
            ("a pseudo-field that nobody knows", vec![(":x", "1")]),
            ("a second path", vec![(":path", "/b")]),
        ] {
            let mut tls = stage.tls("a.example", b"h2").await;
            let mut block = Vec::new();
            let pseudo =
                [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];
            for (name, value) in pseudo.iter().chain(&fields) {
                literal(name, value, &mut block);
            }
            let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            frame(4, 0, 0, &[], &mut sent);
            frame(1, 5, 1, &block, &mut sent);
            tls.write_all(&sent).await.unwrap();
            let answer = first_of_stream(&mut tls).await;
            assert!(matches!(answer, 3 | 7), "{what}: frame {answer}");
        }
        assert_eq!(backend.connections(), 0, "{:?}", backend.requests());
    });
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_makes_no_request() {
    local(async {
        let backend = Backend::new(|mut inside| async move { while inside.more().await > 0 {} }).await;
        let stage = Stage::secure(backend.address, json!({})).await;
        for body in [&b"hell"[..], b"hello!"] {
            let mut sender = stage.http2().await;
            let post = Request::post("https://a.example/")
                .version(http::Version::HTTP_2)
                .header("content-length", "5");
            let (answer, mut stream) = sender.send_request(post.body(()).unwrap(), false).unwrap();
            stream.send_data(Bytes::from_static(body), true).unwrap();
            let given = answer.await;
            assert!(given.as_ref().map_or(true, |answer| answer.status() == 400), "{given:?}");
        }
        assert!(backend.requests().is_empty());
    });
}

/// A field of HPACK, written out.
pub(crate) fn literal(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(0);
    for part in [name, value] {
        out.push(u8::try_from(part.len()).unwrap());
        out.extend_from_slice(part.as_bytes());
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The kind of the first frame of a stream, or of the one that ends the connection.
pub(crate) async fn first_of_stream(stream: &mut (impl AsyncReadExt + Unpin)) -> u8 {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return 7;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            return 7;
        }
        if head[5..] != [0; 4] || head[3] == 7 {
            return head[3];
        }
    }
}

#[test]
fn many_requests_go_at_once() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::secure(backend.address, json!({})).await;
        let sender = stage.http2().await;
        let mut asked = tokio::task::JoinSet::new();
        for at in 0..100 {
            let mut sender = sender.clone();
            asked.spawn_local(async move {
                ask(&mut sender, get(&format!("/{at}")).body(()).unwrap(), None).await.0
            });
        }
        while let Some(status) = asked.join_next().await {
            assert_eq!(status.unwrap(), 200);
        }
        assert_eq!(backend.requests().len(), 100);
    });
}

#[test]
fn a_connection_for_another_certificate_is_not_used() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::secure(backend.address, json!({})).await;
        stage.route(backend.address, json!({ "hostname": "b.example", "cert": "c" }), json!({}));
        stage.route(backend.address, json!({ "hostname": "c.example" }), json!({}));
        let mut sender = stage.http2().await;
        let to = |host: &str| {
            Request::get(format!("https://{host}/")).version(http::Version::HTTP_2).body(()).unwrap()
        };
        assert_eq!(ask(&mut sender, to("b.example"), None).await.0, 200, "it is the same certificate");
        assert_eq!(ask(&mut sender, to("c.example"), None).await.0, 421, "it has none");
        assert_eq!(ask(&mut sender, to("d.example"), None).await.0, 404);
    });
}

#[test]
fn connections_end_after_what_is_under_way() {
    local(async {
        let (go, mut gone) = tokio::sync::mpsc::unbounded_channel::<()>();
        let (seen, mut saw) = tokio::sync::mpsc::unbounded_channel::<()>();
        let gone = std::cell::RefCell::new(Some(std::mem::replace(
            &mut gone,
            tokio::sync::mpsc::unbounded_channel().1,
        )));
        let backend = Backend::new(move |mut inside| {
            let mut gone = gone.borrow_mut().take().unwrap();
            let seen = seen.clone();
            async move {
                inside.request().await;
                seen.send(()).unwrap();
                gone.recv().await;
                inside.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let stage = Stage::secure(backend.address, json!({})).await;
        let mut sender = stage.http2().await;
        let (answer, _) = sender.send_request(get("/").body(()).unwrap(), true).unwrap();
        saw.recv().await.unwrap();
        stage.proxy.stop_keeping();
        go.send(()).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        drop(sender);
        stage.over.send_replace(true);
        stage.proxy.idle().await;
    });
}

#[test]
fn at_the_hard_end_a_stream_is_reset_and_no_other() {
    local(async {
        let slow = Backend::new(|mut inside| async move {
            inside.request().await;
            inside.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel").await;
            inside.more().await;
        })
        .await;
        let fine = Backend::fine().await;
        let stage = Stage::secure(slow.address, json!({ "path": "/slow" })).await;
        stage.route(fine.address, json!({ "hostname": "a.example", "cert": "c" }), json!({}));
        let mut sender = stage.http2().await;
        let (answer, _) = sender.send_request(get("/slow").body(()).unwrap(), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "hel");
        let key = "a.example:8443/slow".parse().unwrap();
        stage.proxy.drain(&key, None, std::time::Duration::from_millis(10)).await.unwrap();
        assert!(body.data().await.unwrap().unwrap_err().is_reset());
        assert_eq!(ask(&mut sender, get("/").body(()).unwrap(), None).await.0, 200);
    });
}
