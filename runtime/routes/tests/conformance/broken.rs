//! Owns Caddies that are down, slow, garbled or guarded: each is a coded error, and none changes anything.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use effect::Code;
use effect::units::Span;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use routes::Driver as _;
use routes::caddy::{Client, Settings};
use serde_json::json;
use tokio::net::TcpListener;

use crate::bench::{Peer as _, assert_failed, plain, put, route};
use crate::caddy::{Caddy, client, settings};
use crate::client::{Body, full, get};
use crate::pki::Pki;
use crate::program::port;

/// Every call of the driver fails in the same way; whether it may pass.
async fn all(client: &Client, code: Code, words: &str) -> bool {
    let wanted = route(port(), "mcq.test", &["127.0.0.1:9".parse().unwrap()], json!({}));
    let key = wanted.route.key();
    let errors = [
        assert_failed(client.list().await, code, words),
        assert_failed(client.get(&key).await, code, words),
        assert_failed(client.admit(&wanted).await, code, words),
        assert_failed(client.put(&wanted).await, code, words),
        assert_failed(client.remove(&key).await, code, words),
    ];
    assert!(errors.iter().all(|error| error.retryable == errors[0].retryable), "{errors:?}");
    errors[0].retryable
}

type Answers = dyn Fn(&Request<Incoming>) -> Response<Body> + Send + Sync;

/// Something that answers as a test wants.
async fn fake(answers: impl Fn(&Request<Incoming>) -> Response<Body> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers: Arc<Answers> = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answers = answers.clone();
            let service = service_fn(move |request| {
                let answer = answers(&request);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            tokio::spawn(async move {
                // The client may hang up.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

fn answer(status: u16, body: &'static str) -> Response<Body> {
    Response::builder().status(status).header("etag", "\"/config/ 1\"").body(full(body)).unwrap()
}

#[tokio::test]
async fn a_caddy_that_does_not_answer_is_told_so() {
    let pki = Pki::new();
    assert!(all(&client(settings(port()), &pki), Code::ProxyUnavailable, "refused").await);
    let gone = client(settings("unix//nowhere/admin.sock"), &pki);
    assert!(all(&gone, Code::ProxyUnavailable, "/nowhere/admin.sock").await);
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let impatient = Settings {
        timeout: Span(std::time::Duration::from_millis(200)),
        ..settings(silent.local_addr().unwrap())
    };
    assert!(all(&client(impatient, &pki), Code::ProxyUnavailable, "no answer within 200ms").await);
    for (status, words) in [(502, "502"), (429, "429")] {
        let gateway = fake(move |_| answer(status, "<html>")).await;
        assert!(all(&client(settings(gateway), &pki), Code::ProxyUnavailable, words).await);
    }
}

#[tokio::test]
async fn what_is_no_caddy_is_told_so() {
    let pki = Pki::new();
    for (status, body, words) in [
        (200, "hello", "expected"),
        (200, "[]", "no object"),
        (404, "not here", "404 Not Found without a reason"),
        (302, "", "302"),
    ] {
        let other = fake(move |_| answer(status, body)).await;
        assert!(!all(&client(settings(other), &pki), Code::ProxyAnswer, words).await);
    }
    let untagged = fake(|_| Response::new(full("{}"))).await;
    all(&client(settings(untagged), &pki), Code::ProxyAnswer, "tag").await;
    let garbled = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = garbled.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = garbled.accept().await {
            let mut head = [0; 1024];
            if stream.read(&mut head).await.is_ok() {
                let _ = stream.write_all(b"220 mail.test ESMTP\r\n\r\n").await;
            }
        }
    });
    all(&client(settings(address), &pki), Code::ProxyAnswer, "HTTP").await;
    let guarded = fake(|_| answer(403, "{\"error\":\"host not allowed: x\"}")).await;
    all(&client(settings(guarded), &pki), Code::ProxyRefused, "host not allowed").await;
    let secured = client(settings(format!("https://localhost:{}", address.port())), &pki);
    all(&secured, Code::ProxyUnavailable, "TLS").await;
}

#[tokio::test]
async fn who_always_loses_is_told_so() {
    let taken = fake(|request| match request.method().as_str() {
        "GET" => answer(200, "{}"),
        _ => answer(412, "{\"error\":\"If-Match header did not match current config hash\"}"),
    })
    .await;
    let driver = client(settings(taken), &Pki::new());
    let wanted = route(port(), "mcq.test", &["127.0.0.1:9".parse().unwrap()], json!({}));
    let error = assert_failed(driver.put(&wanted).await, Code::ProxyRefused, "all the time");
    assert!(error.retryable);
}

#[tokio::test]
async fn the_token_and_the_version_are_shown_to_what_guards_it() {
    let heads: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let seen = heads.clone();
    let guard = fake(move |request| {
        seen.lock().unwrap().push(request.headers().clone());
        answer(200, "{\"apps\":{}}")
    })
    .await;
    let guarded = Settings { token: Some("caddy".into()), ..settings(guard) };
    let driver = client(guarded, &Pki::new());
    let wanted = route(port(), "mcq.test", &["127.0.0.1:9".parse().unwrap()], json!({}));
    driver.put(&wanted).await.unwrap();
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 2);
    assert!(heads.iter().all(|head| head["authorization"] == "Bearer let-me-in"));
    assert_eq!(heads[1]["if-match"], "\"/config/ 1\"");
}

#[tokio::test]
async fn a_caddy_that_was_killed_is_told_so_and_found_again() {
    let caddy = Caddy::start().await;
    let backend = crate::backend::Backend::start("one").await;
    let wanted = route(caddy.plain(), "mcq.test", &[backend.address], json!({}));
    put(&caddy, &wanted).await;
    assert_eq!(get(&plain(&caddy), "mcq.test", "/").await.unwrap().by(), "one");
    rustix::process::kill_process(caddy.program.id(), rustix::process::Signal::KILL).unwrap();
    crate::bench::until("it is gone", async || {
        caddy.driver().list().await.is_err_and(|error| error.code == Code::ProxyUnavailable)
    })
    .await;
    assert_failed(caddy.driver().put(&wanted).await, Code::ProxyUnavailable, "no connection");
}
