//! Owns the effects that only pretend, and the shortest way to run a script with them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use effect::{Code, Error};
use script::{
    Effects, Ended, HistoryItem, Interrupt, Launch, Limits, LogLine, Mode, Module, Outcome, PlanEnd,
    Progress, Reply, Request, Worker, run,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

/// Every effect that the tests know; what each does is in [`World::answer`].
pub(crate) const EFFECTS: [&str; 21] = [
    "now",
    "sleep",
    "pause",
    "test.echo",
    "test.fail",
    "test.flaky",
    "test.after",
    "test.meet",
    "test.stop",
    "test.hang",
    "test.slow",
    "test.stuck",
    "test.wait",
    "test.finish",
    "test.crash",
    "test.kill",
    "test.json",
    "test.act",
    "test.deep.echo",
    "test.deep.deeper.echo",
    "secrets.get",
];

/// What pretends to perform effects, and remembers what was asked.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) requests: RefCell<Vec<Request>>,
    pub(crate) completed: RefCell<Vec<HistoryItem>>,
    pub(crate) lines: RefCell<Vec<LogLine>>,
    pub(crate) progress: RefCell<Vec<Value>>,
    pub(crate) plan_ends: RefCell<Vec<PlanEnd>>,
    pub(crate) modules: HashMap<String, String>,
    /// Finds modules in a real folder, where that matters.
    pub(crate) folder: Option<script::Modules>,
    pub(crate) history: RefCell<VecDeque<HistoryItem>>,
    /// Names that `test.after` waits for.
    pub(crate) done: RefCell<Vec<String>>,
    pub(crate) met: Cell<u32>,
    pub(crate) attempts: Cell<u32>,
    pub(crate) changed: Notify,
    pub(crate) landlock: Cell<Option<bool>>,
    pub(crate) stopping: Cell<bool>,
    /// The identities whose outcome is no longer wanted.
    pub(crate) cancelled: RefCell<Vec<(String, u64)>>,
}

impl World {
    pub(crate) fn messages(&self) -> Vec<String> {
        self.lines.borrow().iter().map(|line| line.message.clone()).collect()
    }

    /// The arguments of each request, in the order in which they were asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        let shown = |request: &Request| {
            format!("{}#{} {} {}", request.scope, request.counter, request.name, request.args.get())
        };
        self.requests.borrow().iter().map(shown).collect()
    }

    async fn until(&self, ready: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if ready() {
                return;
            }
            changed.await;
        }
    }

    /// Over a while after the run has begun to stop.
    async fn outlast_the_run(&self) {
        self.until(|| self.stopping.get()).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    async fn answer(&self, request: &Request) -> Result<Value, Error> {
        let args: Value = serde_json::from_str(request.args.get()).unwrap();
        match request.name.as_str() {
            "now" => Ok(json!(1_700_000_000)),
            "sleep" | "pause" => Ok(Value::Null),
            "test.echo" | "test.deep.echo" | "test.deep.deeper.echo" => Ok(args),
            "test.fail" => {
                Err(Error::new(Code::EngineFailed, "it went wrong").because("the cause").hint("the hint"))
            }
            "test.flaky" => {
                self.attempts.set(self.attempts.get() + 1);
                if u64::from(self.attempts.get()) < args["succeeds_at"].as_u64().unwrap() {
                    return Err(Error::new(Code::EngineUnavailable, "not yet").retryable());
                }
                Ok(json!(self.attempts.get()))
            }
            "test.after" => {
                let before = args["after"].as_str().map(str::to_owned);
                self.until(|| before.as_ref().is_none_or(|name| self.done.borrow().contains(name))).await;
                self.done.borrow_mut().push(args["name"].as_str().unwrap().to_owned());
                self.changed.notify_waiters();
                Ok(args["name"].clone())
            }
            "test.meet" => {
                self.met.set(self.met.get() + 1);
                self.changed.notify_waiters();
                self.until(|| self.met.get() >= 2).await;
                Ok(Value::Bool(true))
            }
            "test.slow" => {
                self.outlast_the_run().await;
                Ok(Value::Null)
            }
            "test.kill" => {
                kill_worker();
                Ok(Value::Null)
            }
            "test.stuck" => std::future::pending().await,
            "test.wait" => {
                let identity = (request.scope.clone(), request.counter);
                self.until(|| self.cancelled.borrow().contains(&identity)).await;
                Err(Error::new(Code::Cancelled, "the effect was cancelled"))
            }
            "test.finish" => {
                let identity = (request.scope.clone(), request.counter);
                self.until(|| self.cancelled.borrow().contains(&identity)).await;
                Ok(Value::Bool(true))
            }
            "test.json" => Ok(serde_json::from_str(args["text"].as_str().unwrap()).unwrap()),
            "test.act" => Ok(json!({ "$sealed": "the result of test.act" })),
            "secrets.get" => Ok(json!({ "$secret": [{ "name": args, "tag": "00" }] })),
            other => panic!("no answer for {other}"),
        }
    }
}

impl Effects for World {
    type Stop = String;

    async fn perform(&self, request: Request) -> Reply<String> {
        self.requests.borrow_mut().push(request.clone());
        if request.name == "test.stop" {
            return Reply::Stop("as asked".to_owned());
        }
        if request.name == "test.hang" {
            self.until(|| self.stopping.get()).await;
            return Reply::Stop("given up".to_owned());
        }
        if request.name == "test.crash" {
            self.outlast_the_run().await;
            return Reply::Stop("broken".to_owned());
        }
        let answer = self.answer(&request).await.map(raw);
        let outcome = match &answer {
            Ok(result) => Outcome::Ok(result.clone()),
            Err(error) => Outcome::error(error),
        };
        let Request { scope, counter, name, hash, .. } = request;
        self.completed.borrow_mut().push(HistoryItem { scope, counter, name, hash, outcome });
        Reply::Answer(answer)
    }

    fn cancel(&self, scope: &str, counter: u64) {
        self.cancelled.borrow_mut().push((scope.to_owned(), counter));
        self.changed.notify_waiters();
    }

    async fn next_history(&self, limit: usize) -> Result<Vec<HistoryItem>, Error> {
        let mut history = self.history.borrow_mut();
        let count = limit.min(history.len());
        Ok(history.drain(..count).collect())
    }

    async fn module(&self, from: &str, path: &str) -> Result<Module, Error> {
        if let Some(folder) = &self.folder {
            return folder.resolve(from, path);
        }
        match self.modules.get(path) {
            Some(source) => {
                Ok(Module { name: path.trim_start_matches("./").to_owned(), source: source.clone() })
            }
            None => Err(Error::new(Code::ModuleNotFound, format!("no module `{path}`"))),
        }
    }

    fn log(&self, line: LogLine) {
        self.lines.borrow_mut().push(line);
    }

    fn progress(&self, progress: Progress) {
        self.progress.borrow_mut().push(serde_json::from_str(progress.value.get()).unwrap());
    }

    fn plan_ended(&self, end: PlanEnd) {
        self.plan_ends.borrow_mut().push(end);
    }

    fn confined(&self, landlock: bool) {
        self.landlock.set(Some(landlock));
    }

    fn stopping(&self) {
        self.stopping.set(true);
        self.changed.notify_waiters();
    }
}

/// Kills the worker of this thread and does not yield before it is gone.
fn kill_worker() {
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    let [child] = children.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{children}") };
    let pid = rustix::process::Pid::from_raw(child.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let is_gone = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap().contains(") Z ");
    while !is_gone() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn raw(value: Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(&value).unwrap()
}

/// A worker that waits for its script.
pub(crate) fn start() -> Worker {
    Worker::start(&program()).unwrap()
}

pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/worker")
}

pub(crate) fn launch(source: &str) -> Launch {
    Launch {
        limits: Limits { exec: Duration::from_secs(20), ..Limits::default() },
        mode: Mode::Run,
        effects: EFFECTS.map(str::to_owned).to_vec(),
        rewinds: BTreeMap::new(),
        args: vec!["first".to_owned(), "second".to_owned()],
        params: raw(json!({ "force": true })),
        seed: 42,
        name: "test.luau".to_owned(),
        source: source.to_owned(),
        event: None,
        resumed: false,
    }
}

/// Runs `launch` in `world` to its end.
pub(crate) fn run_with(launch: Launch, world: &World) -> Ended<String> {
    run_in(&program(), launch, world).unwrap()
}

/// Runs `launch` in a worker that `program` is said to be.
pub(crate) fn run_in(program: &Path, launch: Launch, world: &World) -> effect::Result<Ended<String>> {
    let (_keep, interrupt) = watch::channel(Interrupt::None);
    block_on(async { Ok(run(Worker::start(program)?, launch, world, interrupt).await) })
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Runs a script that must come to its end; what it printed.
pub(crate) fn printed(source: &str) -> Vec<String> {
    let world = World::default();
    done(source, &world);
    world.messages()
}

/// Runs a script that must come to its end.
pub(crate) fn done(source: &str, world: &World) {
    let ended = run_with(launch(source), world);
    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
}

/// Runs a script that must fail; the error.
pub(crate) fn failure(source: &str) -> script::Failure {
    match run_with(launch(source), &World::default()) {
        Ended::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// Runs a plan that must come to its end; whether some branch's plan ended early.
pub(crate) fn planned(source: &str, world: &World) -> bool {
    match run_with(Launch { mode: Mode::Plan, ..launch(source) }, world) {
        Ended::Done { plan_ended } => plan_ended,
        other => panic!("{other:?}"),
    }
}

/// The world that another one left behind: its completed effects are the history.
pub(crate) fn resumed(before: &World) -> World {
    World { history: RefCell::new(before.completed.borrow().iter().cloned().collect()), ..World::default() }
}

/// `launch` as a resumption.
pub(crate) fn again(source: &str) -> Launch {
    Launch { resumed: true, ..launch(source) }
}
