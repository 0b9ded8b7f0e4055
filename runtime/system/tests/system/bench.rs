//! A corridor with a journal in a temporary folder, in which tests perform effects as a script would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use effect::context::Shared;
use effect::plan::Step;
use effect::policy::Grants;
use effect::{Error, Event, Mode, Observer, Overlay, Policy, Registry, Request, Sealer, Session};
use journal::{Identity, Journal, NewRun, RunId, SystemClock};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use system::{SecretSource, SecretStore, ServiceLogs, World};
use tempfile::TempDir;

pub(crate) struct Bench {
    folder: Arc<TempDir>,
    journal: Journal,
    sealer: Arc<Sealer>,
    secrets: BTreeMap<String, SecretSource>,
}

struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: Event<'_>) {}
}

struct Logs;

#[async_trait]
impl ServiceLogs for Logs {
    async fn last_lines(&self, service: &str, count: usize) -> Vec<String> {
        if service == "hello" {
            vec!["cannot open the database".to_owned(); count.min(1)]
        } else {
            Vec::new()
        }
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        for name in ["script", "state", "outside"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let journal = Journal::open(&folder.path().join("state"), Arc::new(SystemClock)).unwrap();
        Self { folder, journal, sealer: Arc::new(Sealer::ephemeral()), secrets: BTreeMap::new() }
    }

    pub(crate) fn with_secret(mut self, name: &str, value: &str, to: &[&str]) -> Self {
        let file = self.folder.path().join("outside").join(name.replace('/', "-"));
        std::fs::write(&file, format!("{value}\n")).unwrap();
        let to = to.iter().map(|to| (*to).to_owned()).collect();
        self.secrets.insert(name.into(), SecretSource { file: Some(file), env: None, command: None, to });
        self
    }

    /// The script's folder.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("script").canonicalize().unwrap()
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) async fn run(&self) -> Script {
        self.script(Mode::Run, &["*"]).await
    }

    pub(crate) async fn plan(&self) -> Script {
        self.script(Mode::Plan, &["*"]).await
    }

    pub(crate) async fn script(&self, mode: Mode, allow: &[&str]) -> Script {
        let root = self.root();
        let mut registry = Registry::default();
        system::register(&mut registry, &World::new(&root, Arc::new(Logs)));
        registry.undo();
        let run = self.new_run(&root).await;
        let grants =
            Grants { allow: allow.iter().map(|text| (*text).to_owned()).collect(), ..Grants::default() };
        let shared = Shared {
            run,
            node: "rift".into(),
            mode,
            policy: Policy::new(None, &grants).unwrap(),
            secrets: Arc::new(SecretStore::new(&self.secrets, &root).unwrap()),
            sealer: self.sealer.clone(),
            journal: self.journal.clone(),
            clock: Arc::new(SystemClock),
            root,
            overlay: Overlay::default(),
        };
        let session = Session::new(
            Arc::new(registry),
            shared,
            Arc::new(Nobody),
            Vec::new(),
            effect::session::Decisions::default(),
        );
        Script { session, counter: AtomicU32::new(0), _folder: self.folder.clone() }
    }

    async fn new_run(&self, root: &Path) -> RunId {
        static CHANCE: AtomicU32 = AtomicU32::new(0);
        let id = RunId::new(journal::Timestamp(1_800_000_000_000), CHANCE.fetch_add(1, Ordering::Relaxed));
        let new = NewRun {
            id,
            name: "test.lua".into(),
            script: "test.lua".into(),
            args: Vec::new(),
            params: Value::Null,
            grants: Value::Null,
            limits: Value::Null,
            seed: 1,
            node: "rift".into(),
            source: String::new(),
            root: root.to_string_lossy().into_owned(),
            modules: BTreeMap::new(),
            plan: None,
            cause: None,
        };
        self.journal.create_run(new).await.unwrap();
        id
    }
}

/// One run or plan.
pub(crate) struct Script {
    session: Session,
    counter: AtomicU32,
    /// The script's folder stays as long as the script.
    _folder: Arc<TempDir>,
}

impl Script {
    /// Performs one effect.
    pub(crate) async fn call(&self, name: &str, arguments: Value) -> Result<Value, Error> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let request = Request {
            identity: Identity { scope: String::new(), counter, name: name.into() },
            arguments: RawValue::from_string(arguments.to_string()).unwrap(),
            place: None,
        };
        let answer = self.session.perform(request).await.expect("nothing stops the run");
        answer.map(|value| serde_json::from_str(value.get()).unwrap())
    }

    /// Performs one effect that must succeed.
    pub(crate) async fn done(&self, name: &str, arguments: Value) -> Value {
        match self.call(name, arguments).await {
            Ok(value) => value,
            Err(error) => panic!("{name}: {error} {:?}", error.details),
        }
    }

    /// Performs one effect that must fail, and returns its error.
    pub(crate) async fn fails(&self, name: &str, arguments: Value) -> Error {
        match self.call(name, arguments).await {
            Ok(value) => panic!("{name} did not fail: {value}"),
            Err(error) => error,
        }
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.session.take_plan().steps
    }
}

/// The handle of a secret, as `secrets.get` returns it.
pub(crate) async fn secret(script: &Script, name: &str) -> Value {
    script.done("secrets.get", json!(name)).await
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} never came true"));
}
