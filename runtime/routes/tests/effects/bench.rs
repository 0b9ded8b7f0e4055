//! What the tests stand on: sessions of runs and plans over one proxy.

use std::sync::Arc;

use async_trait::async_trait;
use effect::context::Shared;
use effect::plan::Plan;
use effect::policy::Grants;
use effect::session::{Decisions, Event, Observer, Request};
use effect::{Code, Context, Error, Mode, Overlay, Policy, Registry, Result, Sealer, Secrets, Session};
use journal::{Identity, Journal, NewRun, RunId, SystemClock};
use routes::effects::{Maker, Means, Prober, World};
use routes::route::Backend;
use routes::{Certificates, Driver, Feature, Material, Route, Standing};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::memory::Memory;

pub(crate) const HOST: &str = "mcq.example.net";

pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) memory: Arc<Memory>,
    pub(crate) world: Arc<World>,
    run: RunId,
}

struct Made(Arc<Memory>);

impl Maker for Made {
    fn driver(&self, _: Means) -> Result<Arc<dyn Driver>> {
        Ok(self.0.clone())
    }

    fn certificates(&self, _: Means) -> Arc<dyn Certificates> {
        Arc::new(One)
    }

    fn prober(&self) -> Arc<dyn Prober> {
        Arc::new(Even)
    }
}

/// There is one certificate, `there`.
struct One;

#[async_trait]
impl Certificates for One {
    async fn material(&self, id: &str) -> Result<Material> {
        match id {
            "there" => Ok(Material { chain: Vec::new(), key: Zeroizing::default() }),
            _ => Err(Error::new(Code::CertificateUnknown, format!("there is no certificate `{id}`"))),
        }
    }
}

/// Back ends at even ports answer.
struct Even;

#[async_trait]
impl Prober for Even {
    async fn probe(&self, _: &Route, backend: Backend) -> Result<(), String> {
        match backend.0.port() % 2 {
            0 => Ok(()),
            _ => Err("connection refused".into()),
        }
    }
}

struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        Err(Error::new(Code::SecretUnknown, name))
    }

    fn may_go(&self, _: &str, _: &str) -> Result<bool> {
        Ok(false)
    }
}

struct Unwatched;

impl Observer for Unwatched {
    fn event(&self, _: Event<'_>) {}
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(&Feature::ALL).await
    }

    pub(crate) async fn with(features: &[Feature]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let run = journal.next_id().unwrap();
        let new = NewRun {
            id: run,
            name: "test.lua".into(),
            script: "/test.lua".into(),
            args: vec![],
            params: json!({}),
            grants: json!({}),
            limits: json!({}),
            seed: 1,
            node: "here".into(),
            source: String::new(),
            root: "/".into(),
            modules: std::collections::BTreeMap::new(),
            plan: None,
            cause: None,
        };
        journal.create_run(new).await.unwrap();
        let memory = Arc::new(Memory::with(features));
        let world = Arc::new(World::new(Box::new(Made(memory.clone()))));
        Self { folder, memory, world, run }
    }

    fn shared(&self, mode: Mode, allow: &[&str]) -> Shared {
        let allow = allow.iter().map(|word| (*word).to_owned()).collect();
        let clock = Arc::new(SystemClock);
        Shared {
            run: self.run,
            node: "here".into(),
            mode,
            policy: Policy::new(None, &Grants { allow, ..Grants::default() }).unwrap(),
            secrets: Arc::new(NoSecrets),
            sealer: Arc::new(Sealer::ephemeral()),
            journal: Journal::open(self.folder.path(), clock.clone()).unwrap(),
            clock,
            root: "/".into(),
            overlay: Overlay::default(),
        }
    }

    fn session(&self, mode: Mode, allow: &[&str]) -> Script {
        let mut registry = Registry::default();
        routes::effects::register(&mut registry, &self.world);
        let (shared, observer) = (self.shared(mode, allow), Arc::new(Unwatched));
        let session = Session::new(Arc::new(registry), shared, observer, vec![], Decisions::default());
        Script { session, counter: std::cell::Cell::new(0) }
    }

    pub(crate) fn run(&self) -> Script {
        self.session(Mode::Run, &["routes"])
    }

    pub(crate) fn run_with(&self, allow: &[&str]) -> Script {
        self.session(Mode::Run, allow)
    }

    pub(crate) fn plan(&self) -> Script {
        self.session(Mode::Plan, &["routes"])
    }

    /// What one effect alone sees.
    pub(crate) fn context(&self, mode: Mode) -> Context {
        let identity = Identity { scope: String::new(), counter: 1, name: "routes.test".into() };
        Context::new(Arc::new(self.shared(mode, &["routes"])), identity)
    }

    /// The routes that stand.
    pub(crate) fn standing(&self) -> Vec<Standing> {
        self.memory.routes.lock().unwrap().values().cloned().collect()
    }

    pub(crate) fn only(&self) -> Standing {
        let standing = self.standing();
        assert_eq!(standing.len(), 1, "{standing:?}");
        standing.into_iter().next().unwrap()
    }
}

/// The calls of one script.
pub(crate) struct Script {
    pub(crate) session: Session,
    counter: std::cell::Cell<u32>,
}

impl Script {
    pub(crate) async fn call(&self, name: &str, arguments: Value) -> Result<Value> {
        self.counter.set(self.counter.get() + 1);
        let identity = Identity { scope: String::new(), counter: self.counter.get(), name: name.into() };
        let arguments = RawValue::from_string(arguments.to_string()).unwrap();
        let answer = self.session.perform(Request { identity, arguments, place: None }).await.unwrap();
        answer.map(|raw| serde_json::from_str(raw.get()).unwrap())
    }

    #[track_caller]
    pub(crate) fn planned(&self) -> Plan {
        self.session.take_plan()
    }

    pub(crate) async fn refused(&self, name: &str, arguments: Value, code: Code) -> Error {
        let shown = arguments.to_string();
        let error = self.call(name, arguments).await.expect_err(&shown);
        assert_eq!(error.code, code, "{shown}: {error}");
        error
    }
}

/// A route with `more` fields.
pub(crate) fn route(more: Value) -> Value {
    let mut fields = json!({ "listen": 443, "hostname": HOST, "backends": ["127.0.0.1:8080"] });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

/// What names a route.
pub(crate) fn key() -> Value {
    json!({ "listen": 443, "hostname": HOST })
}

/// The effect of type `E` with these arguments.
pub(crate) fn effect<E: DeserializeOwned>(arguments: Value) -> E {
    serde_json::from_value(arguments).unwrap()
}
