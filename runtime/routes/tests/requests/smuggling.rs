//! Requests that two readers might see as two others: refused, with a closed connection and nothing at the back end.

use serde_json::json;

use super::backend::Backend;
use super::stage::{Stage, local};

/// What is refused, and with which status.
const REFUSED: &[(&str, u16, &str)] = &[
    (
        "both lengths",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "both, the other way round",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths that differ",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    ),
    (
        "two lengths that agree",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    ),
    ("a list of lengths", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\nhello"),
    ("a negative length", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\nhello"),
    ("a length with a plus", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello"),
    ("a hexadecimal length", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nhello"),
    ("a length with a space in it", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1 5\r\n\r\nhello"),
    ("an empty length", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n"),
    (
        "a length beyond all numbers",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
    ),
    ("a length with a tab before it", 400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\t5\r\n\r\nhello"),
    (
        "a length with a space behind its name",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 5\r\n\r\nhello",
    ),
    ("identity", 400, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n"),
    (
        "identity, then chunked",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice in one field",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked in two fields",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked, then another",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n",
    ),
    (
        "gzip, then chunked",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    ("xchunked", 400, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (
        "chunked in quotes",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked with a tab before it",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\tchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked with a tab behind it",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\t\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked with a vertical tab",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked with a space behind its name",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    ("an empty transfer encoding", 400, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n"),
    ("chunked in HTTP/1.0", 400, "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a folded field", 400, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("a folded field of no meaning", 400, "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n"),
    ("a field without a name", 400, "GET / HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n"),
    ("a field without a colon", 400, "GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n"),
    ("a space before the first field", 400, "GET / HTTP/1.1\r\n host: a\r\n\r\n"),
    ("a bare LF behind a field", 400, "GET / HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n"),
    ("a bare LF behind the request line", 400, "GET / HTTP/1.1\nhost: a\r\n\r\n"),
    ("a bare LF as the empty line", 400, "GET / HTTP/1.1\r\nhost: a\r\n\n"),
    ("a bare CR in a value", 400, "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r2\r\n\r\n"),
    ("a NUL in a value", 400, "GET / HTTP/1.1\r\nhost: a\r\nx: 1\x002\r\n\r\n"),
    ("a bell in a value", 400, "GET / HTTP/1.1\r\nhost: a\r\nx: \x07\r\n\r\n"),
    ("a NUL in a name", 400, "GET / HTTP/1.1\r\nhost: a\r\nx\x00: 1\r\n\r\n"),
    ("no host", 400, "GET / HTTP/1.1\r\nx: 1\r\n\r\n"),
    ("two hosts", 400, "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
    ("an empty host", 400, "GET / HTTP/1.1\r\nhost:\r\n\r\n"),
    ("a host with a user", 400, "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n"),
    ("a list of hosts", 400, "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n"),
    ("a host with a path", 400, "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n"),
    ("a host with a port that is none", 400, "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n"),
    ("a target for another host", 400, "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a target with a user", 400, "GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a target of another scheme", 400, "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a target that is no path", 400, "GET a HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("an asterisk that is not asked for options", 400, "GET * HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a space in the target", 400, "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a tab in the target", 400, "GET /a\tb HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a fragment in the target", 400, "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("two spaces in the request line", 400, "GET  / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("HTTP/1.2", 400, "GET / HTTP/1.2\r\nhost: a\r\n\r\n"),
    ("HTTP/2.0", 400, "GET / HTTP/2.0\r\nhost: a\r\n\r\n"),
    ("HTTP/0.9", 400, "GET /\r\n\r\n"),
    ("http in lower case", 400, "GET / http/1.1\r\nhost: a\r\n\r\n"),
    ("an empty line first", 400, "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("nothing of HTTP", 400, "\x16\x03\x01\r\n\r\n"),
    (
        "a nominated length",
        400,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: content-length\r\n\r\nhello",
    ),
    ("a nominated host", 400, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close, host\r\n\r\n"),
    ("CONNECT", 405, "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n"),
    ("TRACE", 405, "TRACE / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a method that nobody knows", 501, "GETPOST / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a method in lower case", 400, "get / HTTP/1.1\r\nhost: a\r\n\r\n"),
    (
        "an expectation that nobody knows",
        417,
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\ncontent-length: 1\r\n\r\nx",
    ),
    (
        "two expectations",
        417,
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx",
    ),
];

#[test]
fn what_might_be_two_requests_is_refused_and_the_connection_closed() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::plain(backend.address, json!({})).await;
        for (what, status, request) in REFUSED {
            // What follows is what somebody would smuggle.
            let answer =
                stage.to_end(format!("{request}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer:?}");
            assert!(answer.contains("connection: close\r\n"), "{what}: {answer:?}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: {answer:?}");
        }
        assert_eq!(backend.connections(), 0, "{:?}", backend.requests());
    });
}

/// Bodies that turn out to be none, after their head was passed on: nothing of them makes a whole request.
#[test]
fn a_body_that_might_end_in_two_places_ends_the_connection() {
    local(async {
        let backend = Backend::new(|mut inside| async move { while inside.more().await > 0 {} }).await;
        let stage = Stage::plain(backend.address, json!({})).await;
        for (what, body) in [
            ("a size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
            ("a size with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
            ("a size with a space", "5 \r\nhello\r\n0\r\n\r\n"),
            ("a size beyond all numbers", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
            ("a size behind an empty line", "\r\n5\r\nhello\r\n0\r\n\r\n"),
            ("a bare LF behind a size", "5\nhello\r\n0\r\n\r\n"),
            ("a bare LF behind a chunk", "5\r\nhello\n0\r\n\r\n"),
            ("a chunk that is longer", "5\r\nhello!\r\n0\r\n\r\n"),
            ("an extension with a bare CR", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
            ("a trailer that frames", "5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n"),
            ("a trailer that routes", "5\r\nhello\r\n0\r\nhost: b\r\n\r\n"),
            ("a trailer that is folded", "5\r\nhello\r\n0\r\nx: 1\r\n 2\r\n\r\n"),
            ("a trailer with a bare LF", "5\r\nhello\r\n0\r\nx: 1\ny: 2\r\n\r\n"),
        ] {
            let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            let answer = stage
                .to_end(format!("{head}{body}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
                .await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer:?}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: {answer:?}");
        }
    });
}

const TOLD: &str =
    "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: a\r\nx-request-id: ID\r\n";

/// What is passed on, and as what; `{told}` is what every request says of its client.
const PASSED: &[(&str, &str, &str)] = &[
    (
        "a plain one",
        "GET /x?y=1 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n",
        "GET /x?y=1 HTTP/1.1\r\nhost: a\r\nX-A: 1\r\n{told}\r\n",
    ),
    (
        "what is between neighbours is not",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nkeep-alive: 5\r\nproxy-connection: x\r\n\
         proxy-authorization: x\r\nte: trailers\r\ntrailer: x\r\nx-kept: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx-kept: 1\r\n{told}\r\n",
    ),
    (
        "what is said of the client is not believed",
        "GET / HTTP/1.1\r\nhost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\
         X-Real-IP: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Request-ID: mine\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n{told}\r\n",
    ),
    (
        "names that are taken for others are not",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent_length: 5\r\ntransfer_encoding: chunked\r\nmy_own: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nmy_own: 1\r\n{told}\r\n",
    ),
    (
        "a body with a length",
        "POST / HTTP/1.1\r\nhost: a\r\nContent-Length:   005\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\n{told}content-length: 5\r\n\r\nhello",
    ),
    (
        "an empty body",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\n{told}content-length: 0\r\n\r\n",
    ),
    (
        "chunks, framed anew",
        "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0005;x=1\r\nhello\r\n000\r\nX-Sum: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\n{told}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    ),
    (
        "a body of a request that mostly has none",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        "GET / HTTP/1.1\r\nhost: a\r\n{told}content-length: 5\r\n\r\nhello",
    ),
    (
        "a whole target",
        "GET http://A/x HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: a\r\n{told}\r\n",
    ),
    (
        "a whole target without a path",
        "GET http://a?q HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /?q HTTP/1.1\r\nhost: a\r\n{told}\r\n",
    ),
    ("an asterisk", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nhost: a\r\n{told}\r\n"),
    ("HTTP/1.0", "GET / HTTP/1.0\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n{told}\r\n"),
    (
        "spaces around values",
        "GET / HTTP/1.1\r\nhost:a\r\nx:   1 2  \r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: 1 2\r\n{told}\r\n",
    ),
    (
        "an upgrade nobody nominated",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n{told}\r\n",
    ),
    (
        "an upgrade to HTTP/2",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n{told}\r\n",
    ),
    (
        "an upgrade with a body",
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\ncontent-length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\n{told}content-length: 5\r\n\r\nhello",
    ),
    (
        "a method of WebDAV",
        "PROPFIND / HTTP/1.1\r\nhost: a\r\n\r\n",
        "PROPFIND / HTTP/1.1\r\nhost: a\r\n{told}\r\n",
    ),
    (
        "a target as it is",
        "GET /%2e%2e//a/../b%zz HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /%2e%2e//a/../b%zz HTTP/1.1\r\nhost: a\r\n{told}\r\n",
    ),
];

#[test]
fn what_is_passed_on_is_framed_anew_and_nothing_more() {
    local(async {
        for (what, request, expected) in PASSED {
            let backend = Backend::fine().await;
            let stage = Stage::plain(backend.address, json!({})).await;
            let mut client = stage.connect().await;
            client.send(request.as_bytes()).await;
            let answer = client.until("ok").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{what}: {answer:?}");
            assert_eq!(backend.requests(), [expected.replace("{told}", TOLD)], "{what}");
        }
    });
}

#[test]
fn a_trusted_proxy_is_believed_and_added_to() {
    local(async {
        let backend = Backend::fine().await;
        let settings =
            routes::Settings { trusted: vec!["127.0.0.0/8".parse().unwrap()], ..Default::default() };
        let stage = Stage::empty(settings).await;
        stage.route(backend.address, json!({ "hostname": "*" }), json!({}));
        let mut client = stage.connect().await;
        client
            .send(
                b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\n\
                  x-forwarded-proto: https\r\nx-request-id: one\r\n\r\n",
            )
            .await;
        client.until("ok").await;
        let expected = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: https\r\nx-request-id: ID\r\n\
                        x-forwarded-for: 1.2.3.4, 5.6.7.8, 127.0.0.1\r\nx-forwarded-host: a\r\n\r\n";
        assert_eq!(backend.requests(), [expected]);
    });
}
