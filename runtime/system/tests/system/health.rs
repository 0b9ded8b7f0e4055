use std::sync::atomic::{AtomicU32, Ordering};

use effect::{Code, Mode};
use serde_json::json;

use crate::bench::Bench;
use crate::server::{Server, answer};

#[tokio::test]
async fn a_service_that_comes_up_is_found_healthy() {
    let count = AtomicU32::new(0);
    let server = Server::start(move |_| {
        let ready = count.fetch_add(1, Ordering::Relaxed) >= 2;
        answer(if ready { 200 } else { 503 }, if ready { "ok" } else { "starting" })
    })
    .await;
    let script = Bench::new().run().await;
    let healthy = script.done("health.http", json!({ "url": server.url("/"), "body_contains": "ok" })).await;
    assert_eq!(healthy, json!({ "answer": "status 200", "attempts": 3 }));
}

#[tokio::test]
async fn a_failure_shows_the_last_answer_and_the_services_log() {
    let server = Server::start(|_| answer(503, "no database")).await;
    let script = Bench::new().run().await;
    let arguments = json!({ "url": server.url("/?token=x"), "within": "100ms", "service": "hello" });
    let error = script.fails("health.http", arguments).await;
    assert_eq!((error.code, error.retryable), (Code::Unhealthy, true));
    assert_eq!(error.cause.as_deref(), Some("status 503: no database"));
    assert_eq!(error.details, ["hello: cannot open the database"]);
    assert!(!error.to_string().contains("token"), "{error}");
    let arguments = json!({ "url": server.url("/"), "status": 503, "within": "5s", "successes": 2 });
    assert_eq!(script.done("health.http", arguments).await["attempts"], 2);
}

#[tokio::test]
async fn a_tcp_check_connects() {
    let script = Bench::new().run().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    script.done("health.tcp", json!({ "address": address })).await;
    drop(listener);
    let error = script.fails("health.tcp", json!({ "address": address, "within": "60ms" })).await;
    assert_eq!(error.code, Code::Unhealthy);
    assert!(error.cause.unwrap().contains("refused"));
    let error =
        script.fails("health.tcp", json!({ "address": "169.254.169.254:80", "within": "60ms" })).await;
    assert!(error.cause.unwrap().contains("never contacted"));
}

#[tokio::test]
async fn an_exec_check_runs_a_program_and_needs_it_granted() {
    let bench = Bench::new();
    let script = bench.run().await;
    let check =
        json!({ "argv": ["/bin/sh", "-c", "[ -e ready ] || { echo not yet; touch ready; exit 1; }"] });
    assert_eq!(script.done("health.exec", check).await["attempts"], 2);
    let failing = json!({ "argv": ["/bin/sh", "-c", "echo broken; exit 7"], "within": "30ms" });
    let error = script.fails("health.exec", failing).await;
    assert_eq!(error.cause.as_deref(), Some("exit code 7: broken"));
    let denied = bench.script(Mode::Run, &["health"]).await;
    assert_eq!(denied.fails("health.exec", json!({ "argv": ["true"] })).await.code, Code::Denied);
}

#[tokio::test]
async fn a_plan_assumes_health() {
    let script = Bench::new().plan().await;
    let healthy = script.done("health.tcp", json!({ "address": "127.0.0.1:1" })).await;
    assert_eq!(healthy["attempts"], 0);
}
