//! Many requests at once, of h2load and curl.

use serde_json::json;

use crate::backend;
use crate::program::command;
use crate::stage::{HOST, Stage, run};

const REQUESTS: usize = 2000;

/// What h2load says when each request was answered with 200.
fn loads(stage: &Stage, scheme: &str, path: &str, more: &[&str]) {
    let mut h2load = command("h2load");
    h2load.args(["-n", &REQUESTS.to_string(), "-c", "20"]).args(more);
    h2load.arg(format!("--connect-to={}", stage.running.address)).arg(stage.url(scheme, path));
    let said = run(&mut h2load);
    for wanted in [
        format!("{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout"),
        format!("{REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx"),
    ] {
        assert!(said.contains(&wanted), "{wanted}: {said}");
    }
}

#[test]
fn h2load_is_answered_every_time_by_every_protocol() {
    let stage = Stage::new();
    let backend = backend::start();
    let body = stage.path("body");
    std::fs::write(&body, "x".repeat(20_000)).unwrap();
    stage.secure(backend, json!({}));
    loads(&stage, "https", "/octets/500", &["-m", "10"]);
    loads(&stage, "https", "/pieces/20", &["-m", "10"]);
    loads(&stage, "https", "/", &["-m", "10", "-d", &body]);
    loads(&stage, "https", "/octets/500", &["--h1"]);
    loads(&stage, "https", "/", &["--h1", "-d", &body]);
    stage.plain(backend, json!({}));
    loads(&stage, "http", "/octets/500", &["-p", "h2c", "-m", "10"]);
    loads(&stage, "http", "/pieces/20", &["--h1"]);
    let figures = stage.running.until(HOST, |figures| figures.active == 0);
    assert_eq!((figures.requests, figures.failed), (7 * REQUESTS as u64, 0));
}

#[test]
fn curl_speaks_http2_with_prior_knowledge_and_waits_for_100() {
    let stage = Stage::new();
    stage.plain(backend::start(), json!({}));
    let url = stage.url("http", "/");
    let said = stage.curl(&["--http2-prior-knowledge", "--write-out", " %{http_version}", &url]);
    assert_eq!(said, "GET / 0 127.0.0.1 2");
    let body = stage.path("body");
    std::fs::write(&body, "x".repeat(3_000_000)).unwrap();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let body = format!("@{body}");
        let upload =
            ["--request", "PUT", "--data-binary", &body, "--header", "expect: 100-continue", version, &url];
        assert_eq!(stage.curl(&upload), "PUT / 3000000 127.0.0.1", "{version}");
    }
}

#[test]
fn curl_follows_a_redirect_and_sees_the_page_of_a_service_that_is_worked_on() {
    let stage = Stage::new();
    let backend = backend::start();
    let target = stage.url("https", "{path}");
    stage.running.put(
        "old.example.net",
        json!({ "redirect": { "to": target, "status": 302 }, "backends": [] }),
        None,
    );
    stage.secure(backend, json!({ "headers": { "security": true } }));
    let host = format!("host: old.example.net:{}", stage.port());
    let plain = format!("http://{}", stage.running.address);
    let seen = stage.curl(&[
        "--header",
        &host,
        "--write-out",
        "%{http_code} %{redirect_url}",
        &format!("{plain}/x?y=1"),
    ]);
    assert_eq!(seen, format!("302 {}", stage.url("https", "/x?y=1")));
    let dumped = stage.curl(&["--dump-header", "-", &stage.url("https", "/x?y=1")]);
    assert!(
        dumped.contains("strict-transport-security: ") && dumped.ends_with("GET /x?y=1 0 127.0.0.1"),
        "{dumped}"
    );
    stage.secure(backend, json!({ "maintenance": { "text": "back at noon\n", "retry_after": "10m" } }));
    let page = stage.curl(&["--dump-header", "-", "--write-out", "%{http_code}", &stage.url("https", "/")]);
    assert!(page.contains("retry-after: 600") && page.ends_with("back at noon\n503"), "{page}");
}
