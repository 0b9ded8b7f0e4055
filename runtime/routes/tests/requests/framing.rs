//! Answers: how they are framed for the client, what is stripped of them, and those that are no answers.

use serde_json::json;

use super::backend::Backend;
use super::stage::{Stage, local};

async fn exchange(request: &str, answer: &str) -> String {
    let answer = answer.to_owned();
    let backend = Backend::new(move |mut inside| {
        let answer = answer.clone();
        async move {
            inside.request().await;
            inside.send(&answer).await;
        }
    })
    .await;
    let stage = Stage::plain(backend.address, json!({ "retries": 0 })).await;
    stage.to_end(request.as_bytes()).await
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\nhost: a\r\n\r\n";

#[test]
fn answers_are_framed_anew() {
    local(async {
        for (what, request, answer, expected) in [
            (
                "a length",
                GET,
                "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX: 1\r\n\r\nok",
                "HTTP/1.1 200 Fine\r\nX: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
            ),
            (
                "chunks",
                GET,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nsum: 1\r\n\r\n",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nok\r\n0\r\nsum: 1\r\n\r\n",
            ),
            (
                "the end of the connection",
                GET,
                "HTTP/1.0 200 OK\r\n\r\nok",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ),
            (
                "chunks for one who knows none",
                OLD,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok",
            ),
            (
                "what would be there",
                HEAD,
                "HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 77\r\nconnection: close\r\n\r\n",
            ),
            (
                "no content",
                GET,
                "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
            ),
            (
                "not modified",
                GET,
                "HTTP/1.1 304 Not Modified\r\netag: x\r\ncontent-length: 9\r\n\r\n",
                "HTTP/1.1 304 Not Modified\r\netag: x\r\ncontent-length: 9\r\nconnection: close\r\n\r\n",
            ),
            (
                "early hints",
                GET,
                "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            ),
            (
                "what is between neighbours",
                GET,
                "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\nproxy-authenticate: x\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            ),
        ] {
            assert_eq!(exchange(request, answer).await, expected, "{what}");
        }
    });
}

#[test]
fn what_is_no_answer_is_a_502() {
    local(async {
        for answer in [
            "",
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\nx: 1\n\n",
            "HTTP/1.1 200 OK\r\nx: 1\r\n 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : 1\r\n\r\n",
            "HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            &format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(70 << 10)),
        ] {
            let given = exchange(GET, answer).await;
            assert!(given.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer:?}: {given:?}");
            assert!(!given.contains("127.0.0.1"), "{given:?}");
        }
    });
}

#[test]
fn an_answer_that_is_cut_is_not_ended() {
    local(async {
        let given =
            exchange(GET, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        assert!(given.ends_with("5\r\nhello\r\n"), "{given:?}");
        let given = exchange(GET, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await;
        assert!(given.ends_with("hello"), "{given:?}");
    });
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    local(async {
        let backend = Backend::new(|mut inside| async move {
            while let Some(request) = inside.request().await {
                let path = request.split(' ').nth(1).unwrap().to_owned();
                inside
                    .send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()))
                    .await;
            }
        })
        .await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let requests: String =
            (0..20).map(|at| format!("GET /item{at}. HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
        let mut client = stage.connect().await;
        client.send(requests.as_bytes()).await;
        for at in 0..20 {
            assert!(client.until(&format!("/item{at}.")).await.starts_with("HTTP/1.1 200"));
        }
        assert_eq!(backend.connections(), 1, "one connection takes one request after the other");
    });
}

#[test]
fn a_head_in_single_bytes_is_read() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::plain(backend.address, json!({})).await;
        let mut client = stage.connect().await;
        client.stream.set_nodelay(true).unwrap();
        for byte in b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n" {
            client.send(&[*byte]).await;
        }
        assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
        assert!(
            backend.requests()[0].ends_with("2\r\nab\r\n0\r\n\r\n")
                || backend.requests()[0].contains("1\r\na\r\n1\r\nb\r\n")
        );
    });
}

#[test]
fn a_route_adds_to_answers_what_it_says() {
    local(async {
        let backend = Backend::answering(
            "HTTP/1.1 200 OK\r\nServer: x\r\nX-Frame-Options: DENY\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        let headers = json!({ "headers": { "security": true, "set": { "server": "mine" } } });
        let stage = Stage::plain(backend.address, headers).await;
        let answer = stage.to_end(GET.as_bytes()).await;
        assert_eq!(
            answer,
            "HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nserver: mine\r\nx-content-type-options: nosniff\r\n\
             referrer-policy: strict-origin-when-cross-origin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    });
}

#[test]
fn a_route_may_answer_without_a_back_end() {
    local(async {
        let nobody = Backend::nobody().await;
        let terms = json!({ "redirect": { "to": "https://new.example{path}", "status": 301 } });
        let stage = Stage::plain(nobody, terms).await;
        let answer = stage.to_end(b"GET /x?y HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 301 Moved Permanently\r\n"), "{answer}");
        assert!(answer.contains("location: https://new.example/x?y\r\n"), "{answer}");
        let stage =
            Stage::plain(nobody, json!({ "maintenance": { "text": "soon", "retry_after": "2m" } })).await;
        let answer = stage.to_end(GET.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 120\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nsoon"), "{answer}");
        assert!(stage.to_end(HEAD.as_bytes()).await.ends_with("\r\n\r\n"), "HEAD has no body");
    });
}

#[test]
fn what_is_too_large_is_refused() {
    local(async {
        let backend = Backend::new(|mut inside| async move { while inside.more().await > 0 {} }).await;
        let terms = json!({ "limits": { "body": "1KiB", "head": "4KiB" } });
        let stage = Stage::plain(backend.address, terms).await;
        let post = "POST / HTTP/1.1\r\nhost: a\r\n";
        let answer = stage.to_end(format!("{post}content-length: 1025\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        let body = format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025));
        let answer = stage.to_end(format!("{post}transfer-encoding: chunked\r\n\r\n{body}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        for size in [5 << 10, 100 << 10] {
            let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(size));
            let mut client = stage.connect().await;
            // The proxy may close before it has all of it.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, head.as_bytes()).await;
            let answer = client.rest().await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{size}: {answer}");
        }
    });
}

#[test]
fn a_path_finds_the_route_that_a_server_would_mean() {
    local(async {
        let (open, closed) = (
            Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nopen").await,
            Backend::fine().await,
        );
        let stage = Stage::plain(open.address, json!({})).await;
        let deny = json!({ "path": "/admin", "access": { "deny": ["127.0.0.0/8"] } });
        stage.route(closed.address, json!({ "hostname": "*" }), deny);
        for path in ["/admin", "/x/../admin", "/%61dmin/x", "//admin", "/x/%2e%2e/admin", "/./admin"] {
            let answer = stage
                .to_end(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes())
                .await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
        }
        let answer =
            stage.to_end(b"GET /administrator HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.ends_with("open"), "{answer}");
        assert_eq!(closed.connections(), 0);
    });
}

#[test]
fn a_host_without_a_route_is_a_404() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::empty(routes::Settings::default()).await;
        stage.route(backend.address, json!({ "hostname": "b.example" }), json!({}));
        let answer = stage.to_end(GET.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        let mut client = stage.connect().await;
        client.send(b"GET / HTTP/1.1\r\nhost: B.example.:8443\r\n\r\n").await;
        assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
    });
}
