use effect::{Code, Mode};
use serde_json::json;

use crate::bench::{Bench, secret};
use crate::server::{Server, answer, redirect};

#[tokio::test]
async fn a_get_returns_status_headers_and_body() {
    let server =
        Server::start(|request| answer(if request.line.contains("/here?a=1 ") { 200 } else { 404 }, "hello"))
            .await;
    let script = Bench::new().run().await;
    let found = script.done("http.get", json!({ "url": server.url("/here?a=1") })).await;
    assert_eq!((found["status"].clone(), found["body"].clone()), (json!(200), json!("hello")));
    assert_eq!(found["headers"]["x-test"], "yes");
    let missing = script.done("http.get", json!({ "url": server.url("/there") })).await;
    assert_eq!(missing["status"], 404);
    let error = script.fails("http.get", json!({ "url": server.url("/there"), "check": true })).await;
    assert_eq!((error.code, error.retryable), (Code::HttpFailed, false));
}

#[tokio::test]
async fn a_request_carries_json_and_an_idempotency_key() {
    let server = Server::start(|_| answer(201, "")).await;
    let script = Bench::new().run().await;
    let made =
        script.done("http.request", json!({ "url": server.url("/jobs"), "json": { "a": [1, 2] } })).await;
    assert_eq!(made["status"], 201);
    let received = &server.received()[0];
    assert_eq!(received.line, "POST /jobs HTTP/1.1");
    assert_eq!(received.body, r#"{"a":[1,2]}"#);
    assert_eq!(received.headers["content-type"], "application/json");
    assert_eq!(received.headers["host"], server.address.to_string());
    assert!(!received.headers["idempotency-key"].is_empty());
}

#[tokio::test]
async fn a_secret_header_goes_only_where_it_may_and_never_to_another_origin() {
    let other = Server::start(|_| answer(200, "")).await;
    let target = other.url("/");
    let first = Server::start(move |_| redirect(307, &target)).await;
    let bench = Bench::new().with_secret("token", "hunter2", &[&format!("http:{}", first.url("/**"))]);
    let script = bench.run().await;
    let token = secret(&script, "token").await;
    let arguments = json!({ "url": first.url("/a"), "secret_headers": { "X-Token": token }, "body": "text" });
    script.done("http.request", arguments).await;
    assert_eq!(first.received()[0].headers["x-token"], "hunter2");
    assert_eq!(other.received()[0].headers.get("x-token"), None);
    assert_eq!(other.received()[0].body, "text");
    let arguments = json!({ "url": other.url("/"), "secret_headers": { "X-Token": token } });
    assert_eq!(script.fails("http.request", arguments).await.code, Code::SecretPlace);
}

#[tokio::test]
async fn a_secret_in_headers_and_bodies_goes_only_where_it_is_listed() {
    let server = Server::start(|request| answer(200, &request.body)).await;
    let listed = format!("http:{}", server.url("/listed/**"));
    let bench = Bench::new().with_secret("token", "hunter2", &[&listed]);
    let script = bench.run().await;
    let token = secret(&script, "token").await;
    let bearer = json!({ "$secret": ["Bearer ", token.clone()] });
    let parts = [
        json!({ "headers": { "Authorization": bearer } }),
        json!({ "body": token }),
        json!({ "json": { "deep": [token, 1], "who": "me" } }),
    ];
    for part in &parts {
        let with = |path: &str| {
            let mut arguments = part.clone();
            arguments["url"] = json!(server.url(path));
            arguments
        };
        let done = script.done("http.request", with("/listed/a")).await;
        assert!(!done.to_string().contains("hunter2"), "an echo is masked: {done}");
        for mode in [script.fails("http.request", with("/other")).await, {
            let plan = bench.plan().await;
            plan.fails("http.request", with("/other")).await
        }] {
            assert_eq!(mode.code, Code::SecretPlace, "{mode}");
            assert!(mode.hint.unwrap().contains("/other"));
        }
    }
    let received = server.received();
    assert_eq!(received.len(), 3, "nothing went to the other address");
    assert_eq!(received[0].headers["authorization"], "Bearer hunter2");
    assert_eq!(received[1].body, "hunter2");
    assert_eq!(received[2].body, r#"{"deep":["hunter2",1],"who":"me"}"#);
    let forged = json!({ "url": server.url("/listed/a"), "json": { "$secret": "token" } });
    assert_eq!(script.fails("http.request", forged).await.code, Code::SecretPlace);
}

#[tokio::test]
async fn a_secret_body_is_not_redirected_to_another_origin() {
    let other = Server::start(|_| answer(200, "")).await;
    let target = other.url("/");
    let first = Server::start(move |request| match request.line.contains("303") {
        true => redirect(303, &target),
        false => redirect(307, &target),
    })
    .await;
    let bench = Bench::new().with_secret("token", "hunter2", &[&format!("http:{}", first.url("/**"))]);
    let script = bench.run().await;
    let token = secret(&script, "token").await;
    let kept = json!({ "url": first.url("/307"), "body": token });
    assert_eq!(script.fails("http.request", kept).await.code, Code::SecretPlace);
    assert_eq!(other.received().len(), 0);
    // Another status drops the body, and with it the secret.
    script.done("http.request", json!({ "url": first.url("/303"), "body": token })).await;
    assert_eq!(other.received()[0].body, "");
}

#[tokio::test]
async fn redirects_are_followed_counted_and_checked_again() {
    let server = Server::start(|request| match request.line.split(' ').nth(1) {
        Some("/a") => redirect(303, "/b"),
        Some("/loop") => redirect(302, "/loop"),
        Some("/metadata") => redirect(302, "http://169.254.169.254/latest"),
        _ => answer(200, "b"),
    })
    .await;
    let bench = Bench::new();
    let script = bench.run().await;
    let done = script.done("http.request", json!({ "url": server.url("/a"), "body": "text" })).await;
    assert_eq!(done["url"], server.url("/b"));
    assert_eq!(server.received()[1].line, "GET /b HTTP/1.1");
    assert_eq!(server.received()[1].body, "");
    let error = script.fails("http.get", json!({ "url": server.url("/loop"), "redirects": 3 })).await;
    assert!(error.message.contains("more than 3 times"), "{error}");
    let once = script.done("http.get", json!({ "url": server.url("/loop"), "redirects": 0 })).await;
    assert_eq!(once["status"], 302);
    let error = script.fails("http.get", json!({ "url": server.url("/metadata") })).await;
    assert_eq!(error.code, Code::HttpRefused);
    let narrow = bench.script(Mode::Run, &[&format!("http:read:{}", server.url("/a"))]).await;
    let error = narrow.fails("http.get", json!({ "url": server.url("/a") })).await;
    assert_eq!(error.code, Code::Denied);
    assert_eq!(error.missing, [format!("http:read:{}", server.url("/b"))]);
}

#[tokio::test]
async fn an_answer_has_a_limit_and_a_time() {
    let server = Server::start(|request| match request.line.contains("slow") {
        true => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_owned(),
        false => answer(200, &"x".repeat(5000)),
    })
    .await;
    let script = Bench::new().run().await;
    let error = script.fails("http.get", json!({ "url": server.url("/"), "limit": "4KiB" })).await;
    assert_eq!(error.code, Code::TooLarge);
    // The server closes early: that is a broken answer, not a short one.
    let error = script.fails("http.get", json!({ "url": server.url("/slow") })).await;
    assert_eq!((error.code, error.retryable), (Code::HttpFailed, true));
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let error = script.fails("http.get", json!({ "url": url, "timeout": "50ms" })).await;
    assert_eq!((error.code, error.retryable), (Code::TimedOut, true));
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused() {
    let script = Bench::new().run().await;
    for arguments in [
        json!({ "url": "ftp://x/" }),
        json!({ "url": "http://user:pw@x/" }),
        json!({ "url": "http://127.0.0.1/", "headers": { "Content-Length": "5" } }),
        json!({ "url": "http://127.0.0.1/", "headers": { "X": "a\r\nInjected: b" } }),
        json!({ "url": "http://127.0.0.1/", "method": "BREW" }),
        json!({ "url": "http://127.0.0.1/", "body": "a", "json": 1 }),
    ] {
        let error = script.fails("http.request", arguments.clone()).await;
        assert_eq!(error.code, Code::Argument, "{arguments}: {error}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = script.fails("http.get", json!({ "url": format!("http://{nobody}/") })).await;
    assert_eq!((error.code, error.retryable), (Code::HttpFailed, true));
}

#[tokio::test]
async fn tls_speaks_only_with_whom_it_trusts() {
    let bench = Bench::new();
    let script = bench.run().await;
    let (server, authority) = Server::start_tls(|_| answer(200, "hello")).await;
    std::fs::write(bench.root().join("ca.pem"), authority).unwrap();
    let port = server.address.port();
    let url = format!("https://localhost:{port}/");
    let trusted = script.done("http.get", json!({ "url": url, "ca": "ca.pem" })).await;
    assert_eq!(trusted["body"], "hello");
    let error = script.fails("http.get", json!({ "url": url })).await;
    assert_eq!(error.code, Code::HttpFailed);
    let other = format!("https://127.0.0.1:{port}/");
    let error = script.fails("http.get", json!({ "url": other, "ca": "ca.pem" })).await;
    assert!(error.cause.as_deref().unwrap().contains("not valid for name"), "{error}");
    let error = script.fails("http.get", json!({ "url": url, "ca": "missing.pem" })).await;
    assert!(error.message.contains("missing.pem"), "{error}");
}
