//! Durable steps: an act of a driver that does nothing, begin and end, beside raw SQLite commits on the same disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use effect::context::Shared;
use effect::policy::Grants;
use effect::session::{Event, Observer};
use effect::{
    Act, Context, Declared, Doubt, Mode, Need, OnDoubt, Overlay, Policy, Registry, Result, Sealer, Session,
};
use journal::{Identity, Journal, NewRun, Place, SystemClock};
use schemars::JsonSchema;
use script::{
    Effects, Ended, HistoryItem, Interrupt, Launch, Limits, LogLine, Module, PlanEnd, Progress, Reply,
};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::{Row, micros, ratio};

const STEPS: u32 = 5_000;

/// Does nothing, and can be asked whether it did.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {
    /// Which one.
    number: u32,
}

impl Declared for Nothing {
    const NAME: &'static str = "bench.nothing";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str = "";
    type World = ();
    type Output = u32;

    fn subject(&self) -> String {
        String::new()
    }

    fn needs(&self, (): &()) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Act for Nothing {
    const ASKABLE: bool = true;

    fn on_doubt(&self) -> OnDoubt {
        OnDoubt::Ask
    }

    fn assume(&self) -> Option<serde_json::Value> {
        None
    }

    async fn act(&self, (): &(), _: &Context, _: &str) -> Result<u32> {
        Ok(self.number)
    }

    async fn ask(&self, (): &(), _: &Context, _: &str) -> Result<Doubt<u32>> {
        Ok(Doubt::NotDone)
    }
}

struct Unwatched;

impl Observer for Unwatched {
    fn event(&self, _: Event<'_>) {}
}

/// The shortest way from a worker to the corridor.
struct Bridge<'a>(&'a Session);

impl Effects for Bridge<'_> {
    type Stop = effect::Stop;

    async fn perform(&self, request: script::Request) -> Reply<effect::Stop> {
        let counter = u32::try_from(request.counter).unwrap();
        let identity = Identity { scope: request.scope, counter, name: request.name };
        let place = Some(Place { file: request.place.file, line: request.place.line });
        match self.0.perform(effect::Request { identity, arguments: request.args, place }).await {
            Ok(answer) => Reply::Answer(answer),
            Err(stop) => Reply::Stop(stop),
        }
    }

    async fn next_history(&self, _: usize) -> Result<Vec<HistoryItem>> {
        Ok(Vec::new())
    }

    async fn module(&self, _: &str, path: &str) -> Result<Module> {
        Ok(Module { name: path.to_owned(), source: String::new() })
    }

    fn log(&self, _: LogLine) {}

    fn progress(&self, _: Progress) {}

    fn plan_ended(&self, _: PlanEnd) {}
}

pub(crate) fn durable_steps(program: &Path) -> Vec<Row> {
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let raw = raw_commits(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let step = runtime.block_on(steps(program, folder.path()));
    let raw_again = raw_commits(folder.path());
    let baseline = raw.min(raw_again);
    vec![Row {
        what: "sequential durable step (an act of a driver that does nothing)",
        measured: micros(step),
        baseline: format!("raw SQLite WAL-FULL commit {}", micros(baseline)),
        ratio: ratio(step, baseline),
        promise: "≤ 2 ×",
    }]
}

pub(crate) fn raw_commits(folder: &Path) -> Duration {
    let path = folder.join("raw.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    connection.execute_batch("CREATE TABLE IF NOT EXISTS step (n INTEGER PRIMARY KEY, text TEXT)").unwrap();
    let mut insert = connection.prepare("INSERT INTO step (text) VALUES (?1)").unwrap();
    let started = Instant::now();
    for number in 0..STEPS {
        insert.execute([format!("{{\"number\":{number}}}")]).unwrap();
    }
    started.elapsed() / STEPS
}

async fn steps(program: &Path, folder: &Path) -> Duration {
    let clock = Arc::new(SystemClock);
    let journal = Journal::open(&folder.join("state"), clock.clone()).unwrap();
    let run = journal.next_id().unwrap();
    let source = format!("for number = 1, {STEPS} do bench.nothing {{ number = number }} end\n");
    let new = NewRun {
        id: run,
        name: "bench.lua".into(),
        script: "bench.lua".into(),
        args: vec![],
        params: json!({}),
        grants: json!({}),
        limits: json!({}),
        seed: 1,
        node: "here".into(),
        source: source.clone(),
        root: "/".into(),
        modules: BTreeMap::new(),
        plan: None,
        cause: None,
    };
    journal.create_run(new).await.unwrap();
    let mut registry = Registry::default();
    registry.act::<Nothing>(&Arc::new(()));
    let shared = Shared {
        run,
        node: "here".into(),
        mode: Mode::Run,
        policy: Policy::new(None, &Grants::default()).unwrap(),
        secrets: Arc::new(system::SecretStore::new(&BTreeMap::default(), folder).unwrap()),
        sealer: Arc::new(Sealer::ephemeral()),
        journal,
        clock,
        root: "/".into(),
        overlay: Overlay::default(),
    };
    let session = Session::new(
        Arc::new(registry),
        shared,
        Arc::new(Unwatched),
        Vec::new(),
        effect::session::Decisions::default(),
    );
    let launch = Launch {
        limits: Limits::default(),
        mode: script::Mode::Run,
        effects: vec!["bench.nothing".into()],
        rewinds: BTreeMap::new(),
        args: vec![],
        params: RawValue::from_string("{}".into()).unwrap(),
        seed: 1,
        name: "bench.lua".into(),
        source,
        event: None,
        resumed: false,
    };
    let (_keep, interrupt) = tokio::sync::watch::channel(Interrupt::None);
    let worker = script::Worker::start(program).unwrap();
    let started = Instant::now();
    let ended = script::run(worker, launch, &Bridge(&session), interrupt).await;
    let took = started.elapsed();
    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
    took / STEPS
}
