//! Telemetry on its way to a collector.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use daemon::metrics::Metrics;
use daemon::telemetry::{self, Parts, Settings};
use effect::{Code, Error, Result, Secrets};
use journal::{Begin, End, Identity, Journal, Kind, NewRun, Outcome, RunId, RunState, SystemClock};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::collector::Collector;

struct Known;

#[async_trait::async_trait]
impl Secrets for Known {
    async fn reveal(&self, name: &str) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        assert_eq!(name, "otel/token");
        Ok(zeroize::Zeroizing::new(b"s3cret\n".to_vec()))
    }

    fn may_go(&self, _: &str, destination: &str) -> Result<bool> {
        Ok(destination == "telemetry")
    }
}

/// A journal whose exporter is under way.
struct Stage {
    journal: Journal,
    metrics: Metrics,
    stop: watch::Sender<bool>,
    exporting: Option<JoinHandle<Result<()>>>,
}

impl Stage {
    fn open(folder: &Path, endpoint: &str, more: &str) -> Self {
        let journal = Journal::open(folder, Arc::new(SystemClock)).unwrap();
        let metrics = Metrics::default();
        let (stop, over) = watch::channel(false);
        let text = format!("endpoint = \"{endpoint}\"\nevery = \"100ms\"\n{more}");
        let settings: Settings = toml::from_str(&text).unwrap();
        let parts = Parts {
            journal: journal.clone(),
            node: "rift".into(),
            metrics: metrics.clone(),
            secrets: Arc::new(Known),
        };
        let exporting = Some(tokio::spawn(telemetry::export(settings, parts, over)));
        Self { journal, metrics, stop, exporting }
    }

    /// Until it has written down from where on runs are sent.
    async fn ready(&self) {
        for _ in 0..6000 {
            if self.journal.record("telemetry", "rift", "traces").await.unwrap().is_some() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the exporter never began");
    }

    async fn close(mut self) {
        self.stop.send_replace(true);
        self.exporting.take().unwrap().await.unwrap().unwrap();
    }

    fn counted(&self, kind: &str, outcome: &str) -> f64 {
        let figures = self.metrics.figures();
        let figure = figures.iter().find(|figure| figure.family.name == "mcrun_telemetry_total").unwrap();
        let found = figure.samples.iter().find(|(labels, _)| labels == &[kind, outcome]);
        match found {
            Some((_, daemon::metrics::Sample::Number(number))) => *number,
            _ => 0.0,
        }
    }

    /// A run with one effect that is done and one that failed.
    async fn run(&self) -> RunId {
        let id = self.journal.next_id().unwrap();
        let new = NewRun {
            id,
            name: "deploy.lua".into(),
            script: "/srv/deploy.lua".into(),
            args: Vec::new(),
            params: json!({}),
            grants: json!({}),
            limits: json!({}),
            seed: 1,
            node: "rift".into(),
            source: "x".into(),
            root: "/srv".into(),
            modules: BTreeMap::new(),
            plan: None,
            cause: None,
        };
        self.journal.create_run(new).await.unwrap();
        self.journal.set_state(&id, RunState::Running, None, None).await.unwrap();
        let error = Error::new(Code::ImageMissing, "no image").because("secret words stay here");
        self.effect(
            &id,
            "deploy/mcq",
            "containers.ensure",
            json!({ "name": "mcq" }),
            Outcome::Done("{}".into()),
        )
        .await;
        let failed = Outcome::Failed(serde_json::to_string(&error).unwrap().into());
        let url = json!({ "url": "https://user:pass@api.example:8443/hook?token=abc" });
        self.effect(&id, "deploy", "http.post", url, failed).await;
        let outcome = json!({ "error": error });
        self.journal.set_state(&id, RunState::Failed, Some(outcome), Some(1)).await.unwrap();
        id
    }

    async fn effect(&self, run: &RunId, scope: &str, name: &str, arguments: Value, outcome: Outcome) {
        let identity = Identity { scope: scope.into(), counter: 1, name: name.into() };
        let arguments: Box<str> = arguments.to_string().into();
        let begin = Begin {
            identity: identity.clone(),
            kind: Kind::Act,
            arguments: arguments.clone(),
            arguments_hash: [1; 16],
            place: None,
            before: None,
            change: None,
            until: None,
            fence: None,
        };
        self.journal.begin(run, begin).await.unwrap();
        let end = End {
            identity,
            kind: Kind::Act,
            arguments,
            arguments_hash: [1; 16],
            place: None,
            before: None,
            outcome,
            writes: Vec::new(),
            fence: None,
            changed: true,
        };
        self.journal.end_now(run, end).durable().await.unwrap();
    }
}

fn spans(message: &Value) -> Vec<Value> {
    let spans = &message["body"]["resourceSpans"][0]["scopeSpans"][0]["spans"];
    spans.as_array().cloned().unwrap_or_default()
}

fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name} in {spans:?}"))
}

fn attribute(span: &Value, key: &str) -> Value {
    let attributes = span["attributes"].as_array().cloned().unwrap_or_default();
    let found = attributes.into_iter().find(|attribute| attribute["key"] == key);
    found.map_or(Value::Null, |found| found["value"].clone())
}

fn is_traces(message: &Value) -> bool {
    message["path"] == "/v1/traces"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_a_trace_and_its_effects_are_spans_of_their_scopes() {
    let collector = Collector::start("200").await;
    let folder = tempfile::tempdir().unwrap();
    let headers = "headers = { \"x-token\" = { secret = \"otel/token\" } }\n";
    let stage = Stage::open(folder.path(), &collector.endpoint, headers);
    stage.ready().await;
    let run = stage.run().await;
    let message = collector.next(is_traces);
    assert_eq!(message["token"], "s3cret");
    let spans = spans(&message);
    assert_eq!(spans.len(), 5, "{spans:?}");
    let whole = named(&spans, "deploy.lua");
    assert!(whole.get("parentSpanId").is_none());
    assert_eq!(attribute(whole, "mcrun.run")["stringValue"], run.as_str());
    assert_eq!(whole["status"]["code"], "STATUS_CODE_ERROR");
    assert_eq!(whole["status"]["message"], "no image");
    let (outer, inner) = (named(&spans, "deploy"), named(&spans, "mcq"));
    assert_eq!(outer["parentSpanId"], whole["spanId"]);
    assert_eq!(inner["parentSpanId"], outer["spanId"]);
    let ensure = named(&spans, "containers.ensure");
    assert_eq!(ensure["parentSpanId"], inner["spanId"]);
    assert_eq!(attribute(ensure, "mcrun.subject")["stringValue"], "mcq");
    assert_eq!(ensure["status"]["code"], "STATUS_CODE_OK");
    let post = named(&spans, "http.post");
    assert_eq!(post["parentSpanId"], outer["spanId"]);
    assert_eq!(attribute(post, "mcrun.subject")["stringValue"], "https://api.example:8443");
    assert_eq!(attribute(post, "mcrun.error.code")["stringValue"], Code::ImageMissing.as_str());
    assert!(!message.to_string().contains("pass@") && !message.to_string().contains("token=abc"));
    assert!(spans.iter().all(|span| span["traceId"] == whole["traceId"]));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_sums_gauges_and_histograms() {
    let collector = Collector::start("200").await;
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::open(folder.path(), &collector.endpoint, "");
    stage.metrics.effect_ended("files.write", "done", 30);
    let has_effects =
        |message: &Value| message["path"] == "/v1/metrics" && message.to_string().contains("files.write");
    let message = collector.next(has_effects);
    let metrics = &message["body"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    let of = |name: &str| {
        metrics.as_array().unwrap().iter().find(|metric| metric["name"] == name).cloned().unwrap()
    };
    let effects = of("mcrun_effects_total");
    assert_eq!(effects["sum"]["isMonotonic"], true);
    assert_eq!(effects["sum"]["dataPoints"][0]["asDouble"], 1.0);
    assert!(of("mcrun_journal_size_bytes")["gauge"]["dataPoints"][0]["asDouble"].as_f64().unwrap() > 0.0);
    let times = of("mcrun_effect_duration_seconds");
    let point = &times["histogram"]["dataPoints"][0];
    assert_eq!(point["count"], "1");
    let (counts, bounds) = (&point["bucketCounts"], &point["explicitBounds"]);
    assert_eq!(counts.as_array().unwrap().len(), bounds.as_array().unwrap().len() + 1);
    assert_eq!(times["unit"], "s");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_busy_gets_every_run_later_and_only_once() {
    let collector = Collector::start("503").await;
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::open(folder.path(), &collector.endpoint, "metrics = false\n");
    stage.ready().await;
    let first = stage.run().await;
    collector.next(|message| is_traces(message) && message["status"] == 503);
    // The process ends meanwhile: the next one goes on from there.
    stage.close().await;
    collector.answer("200");
    let stage = Stage::open(folder.path(), &collector.endpoint, "metrics = false\n");
    let is_taken = |message: &Value| is_traces(message) && message["status"] == 200;
    let run_of =
        |message: &Value| attribute(named(&spans(message), "deploy.lua"), "mcrun.run")["stringValue"].clone();
    assert_eq!(run_of(&collector.next(is_taken)), first.as_str());
    let second = stage.run().await;
    assert_eq!(run_of(&collector.next(is_taken)), second.as_str());
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_collector_will_never_take_is_left_behind_and_counted() {
    let collector = Collector::start("400").await;
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::open(folder.path(), &collector.endpoint, "metrics = false\n");
    stage.ready().await;
    stage.run().await;
    collector.next(is_traces);
    collector.answer("200 2");
    let second = stage.run().await;
    let message = collector.next(|message| is_traces(message) && message["status"] == 200);
    assert!(message.to_string().contains(second.as_str()));
    stage.close_counting(5.0 + 2.0, 3.0).await;
}

impl Stage {
    async fn close_counting(mut self, dropped: f64, sent: f64) {
        self.stop.send_replace(true);
        self.exporting.take().unwrap().await.unwrap().unwrap();
        assert_eq!((self.counted("spans", "dropped"), self.counted("spans", "sent")), (dropped, sent));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_takes_no_figures_gets_every_run() {
    let collector = Collector::start("200 0 404").await;
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::open(folder.path(), &collector.endpoint, "");
    stage.ready().await;
    collector.next(|message| message["path"] == "/v1/metrics");
    for _ in 0..2 {
        let run = stage.run().await;
        let message = collector.next(|message| {
            assert_eq!(message["path"], "/v1/traces", "it was asked once");
            true
        });
        assert!(message.to_string().contains(run.as_str()));
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_silent_does_not_hold_up_the_end() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::open(folder.path(), &endpoint, "timeout = \"10m\"\n");
    stage.ready().await;
    let asked = tokio::task::spawn_blocking(move || silent.accept().unwrap()).await.unwrap();
    // Sooner than the time-out, or this test is stopped.
    stage.close().await;
    drop(asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_no_trouble_for_runs() {
    // Nothing listens on it: it was bound a moment ago.
    let endpoint = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", socket.local_addr().unwrap())
    };
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::open(folder.path(), &endpoint, "");
    stage.ready().await;
    for _ in 0..20 {
        stage.run().await;
    }
    stage.close().await;
}
