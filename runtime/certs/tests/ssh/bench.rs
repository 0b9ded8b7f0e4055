//! A corridor with a journal in a temporary folder, in which tests perform effects as a script would, at a time they set.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use certs::policy::{Policy as NamePolicy, Rules};
use certs::ssh::{Settings, Store, World};
use effect::context::Shared;
use effect::policy::Grants;
use effect::{
    Code, Context, Error, Event, Mode, Observer, Overlay, Policy, Registry, Request, Sealer, Secrets,
    Session, Timestamp,
};
use journal::{Clock, Identity, Journal, NewRun, RunId, SystemClock};
use serde_json::Value;
use serde_json::value::RawValue;
use tempfile::TempDir;
use zeroize::Zeroizing;

pub(crate) const NODE: &str = "rift";

pub(crate) struct Bench {
    folder: TempDir,
    journal: Journal,
    sealer: Arc<Sealer>,
}

struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: Event<'_>) {}
}

#[async_trait]
impl Secrets for Nobody {
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        Err(Error::new(Code::SecretUnknown, format!("no secret `{name}`")))
    }

    fn may_go(&self, _: &str, _: &str) -> Result<bool, Error> {
        Ok(false)
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }
}

/// A clock that goes wrong by so many milliseconds.
struct Skewed(i64);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0)
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let journal = Journal::open(&folder.path().join("state"), Arc::new(SystemClock)).unwrap();
        Self { folder, journal, sealer: Arc::new(Sealer::ephemeral()) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The authority's store, so many seconds from now.
    pub(crate) fn store(&self, seconds: i64) -> Store<'_> {
        let now = Timestamp(SystemClock.now().0 + seconds * 1000);
        Store { journal: &self.journal, sealer: &self.sealer, node: NODE, now, run: None, may_make: true }
    }

    pub(crate) async fn run(&self) -> Script {
        self.script(Mode::Run, &["*"], 0).await
    }

    pub(crate) async fn script(&self, mode: Mode, allow: &[&str], seconds: i64) -> Script {
        let mut registry = Registry::default();
        certs::effects::ssh::register_ssh(&mut registry, &Arc::new(world()));
        registry.undo();
        let shared = self.shared(mode, allow, seconds).await;
        let decisions = effect::session::Decisions::default();
        let session = Session::new(Arc::new(registry), shared, Arc::new(Nobody), Vec::new(), decisions);
        Script { session, counter: AtomicU32::new(0) }
    }

    async fn shared(&self, mode: Mode, allow: &[&str], seconds: i64) -> Shared {
        let run = self.new_run().await;
        let allow = allow.iter().map(|text| (*text).to_owned()).collect();
        Shared {
            run,
            node: NODE.into(),
            mode,
            policy: Policy::new(None, &Grants { allow, ..Grants::default() }).unwrap(),
            secrets: Arc::new(Nobody),
            sealer: self.sealer.clone(),
            journal: self.journal.clone(),
            clock: Arc::new(Skewed(seconds * 1000)),
            root: self.folder.path().to_owned(),
            overlay: Overlay::default(),
        }
    }

    /// What one effect sees, without the corridor around it.
    pub(crate) async fn context(&self) -> Context {
        let identity = Identity { scope: String::new(), counter: 1, name: "certs.ssh.sign".into() };
        Context::new(Arc::new(self.shared(Mode::Run, &["*"], 0).await), identity)
    }

    async fn new_run(&self) -> RunId {
        static CHANCE: AtomicU32 = AtomicU32::new(0);
        let id = RunId::new(Timestamp(1_800_000_000_000), CHANCE.fetch_add(1, Ordering::Relaxed));
        let new = NewRun {
            id,
            name: "test.lua".into(),
            script: "test.lua".into(),
            args: Vec::new(),
            params: Value::Null,
            grants: Value::Null,
            limits: Value::Null,
            seed: 1,
            node: NODE.into(),
            source: String::new(),
            root: self.folder.path().to_string_lossy().into_owned(),
            modules: BTreeMap::new(),
            plan: None,
            cause: None,
        };
        self.journal.create_run(new).await.unwrap();
        id
    }

    /// Makes a key pair and returns the path of the private key.
    pub(crate) fn key(&self, name: &str, kind: &[&str]) -> PathBuf {
        let path = self.path(name);
        let made =
            keygen(&[kind, &["-q", "-N", "", "-C", "somebody", "-f", path.to_str().unwrap()]].concat());
        assert!(made.status.success(), "{made:?}");
        path
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// A world in which hosts beneath `mcrun.test` have names.
pub(crate) fn world() -> World {
    World::new(NamePolicy::new(&Rules::default()).unwrap(), Settings::default()).unwrap()
}

pub(crate) fn public_key(private: &Path) -> String {
    std::fs::read_to_string(private.with_extension("pub")).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the peer is started by the test")]
pub(crate) fn keygen(words: &[&str]) -> Output {
    Command::new("ssh-keygen")
        .args(words)
        .env("TZ", "UTC")
        .output()
        .expect("ssh-keygen is installed: tests/install.sh")
}

/// One run or plan.
pub(crate) struct Script {
    session: Session,
    counter: AtomicU32,
}

impl Script {
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

    pub(crate) async fn done(&self, name: &str, arguments: Value) -> Value {
        match self.call(name, arguments).await {
            Ok(value) => value,
            Err(error) => panic!("{name}: {error} {:?}", error.details),
        }
    }

    pub(crate) async fn fails(&self, name: &str, arguments: Value) -> Error {
        match self.call(name, arguments).await {
            Ok(value) => panic!("{name} did not fail: {value}"),
            Err(error) => error,
        }
    }

    pub(crate) fn steps(&self) -> Vec<effect::plan::Step> {
        self.session.take_plan().steps
    }
}
