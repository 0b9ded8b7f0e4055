//! The page of figures.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::listen::Handler as _;
use daemon::metrics::{CONTENT_TYPE, Metrics, Page};
use http::{Request, Response, StatusCode};
use journal::{Journal, RunState, SystemClock};
use serde_json::Value;

use crate::python;

async fn ask(page: &Page, method: &str, path: &str) -> Response<Bytes> {
    let request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
    page.handle(request, SocketAddr::from(([127, 0, 0, 1], 1))).await
}

async fn parsed(page: &[u8]) -> Value {
    let mut command = python::script("page.py").await;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(page).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The value of the sample with these labels.
fn sample(families: &Value, family: &str, name: &str, labels: Value) -> f64 {
    let samples = families[family][1].as_array().unwrap_or_else(|| panic!("no {family} in {families}"));
    let found = samples.iter().find(|sample| sample[0] == name && sample[1] == labels);
    let found = found.unwrap_or_else(|| panic!("no {name} {labels} in {samples:?}"));
    found[2].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn prometheus_reads_every_figure() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let metrics = Metrics::default();
    let page = Page::new(metrics.clone(), journal);
    metrics.run_ended(Some("renew\"\\\n-all"), RunState::Failed);
    metrics.effect_ended("containers.ensure", "done", 40);
    metrics.effect_ended("containers.ensure", "done", 3_000_000);
    metrics.call("Runs/GetRun", "0", Duration::from_millis(2));
    metrics.set_running(3, 2);
    metrics.set_playbooks(7, 1);
    metrics.occurrence("nightly", "started");
    metrics.reloaded("configuration", false);
    let answer = ask(&page, "GET", "/metrics").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], CONTENT_TYPE);
    let families = parsed(answer.body()).await;
    let of = |family: &str, labels: Value| sample(&families, family, family, labels);
    // The parser takes `_total` off the names of counters.
    let counted = |family: &str, labels: Value| sample(&families, family, &format!("{family}_total"), labels);
    let labels = serde_json::json!({ "playbook": "renew\"\\\n-all", "state": "failed" });
    assert_eq!(counted("mcrun_runs_ended", labels), 1.0);
    let times = |name: &str, labels: Value| sample(&families, "mcrun_effect_duration_seconds", name, labels);
    let bucket = |le: &str| serde_json::json!({ "effect": "containers.ensure", "le": le });
    let whole = serde_json::json!({ "effect": "containers.ensure" });
    assert_eq!(times("mcrun_effect_duration_seconds_bucket", bucket("0.025")), 0.0);
    assert_eq!(times("mcrun_effect_duration_seconds_bucket", bucket("0.1")), 1.0);
    assert_eq!(times("mcrun_effect_duration_seconds_bucket", bucket("1800")), 1.0);
    assert_eq!(times("mcrun_effect_duration_seconds_bucket", bucket("+Inf")), 2.0);
    assert_eq!(times("mcrun_effect_duration_seconds_count", whole.clone()), 2.0);
    assert_eq!(times("mcrun_effect_duration_seconds_sum", whole), 3000.04);
    assert_eq!(of("mcrun_runs_queued", serde_json::json!({})), 3.0);
    assert_eq!(of("mcrun_playbooks", serde_json::json!({ "state": "broken" })), 1.0);
    assert_eq!(of("mcrun_runs", serde_json::json!({ "state": "failed" })), 0.0);
    assert!(of("mcrun_journal_size_bytes", serde_json::json!({})) > 4096.0);
    assert!(of("mcrun_process_resident_memory_bytes", serde_json::json!({})) > 1e6);
    assert!(of("mcrun_process_open_fds", serde_json::json!({})) > 2.0);
    assert!(of("mcrun_process_start_time_seconds", serde_json::json!({})) > 1.7e9);
    assert_eq!(families["mcrun_effect_duration_seconds"][0], "histogram");
    assert_eq!(families["mcrun_build_info"][1][0][1]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn only_the_page_is_there_and_only_to_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let page = Page::new(Metrics::default(), journal);
    assert_eq!(ask(&page, "GET", "/").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(ask(&page, "POST", "/metrics").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let head = ask(&page, "HEAD", "/metrics").await;
    assert_eq!((head.status(), head.body().len()), (StatusCode::OK, 0));
}
