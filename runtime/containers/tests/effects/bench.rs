//! What the tests of effects stand on: a world of native programs, and contexts with the grants of one run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use containers::effects::{Choice, Container, Engines, Ensure, Prober, World};
use containers::{Driver, Exec, Health, Observed, podman, process};
use effect::context::Shared;
use effect::policy::Grants;
use effect::{
    Applied, Change, Code, Context, Ensure as _, Error, Mode, Overlay, Policy, Result, Sealer, Secrets,
};
use journal::{Identity, Journal, RunId, SystemClock, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

pub(crate) const NAME: &str = "web";

pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) world: World,
    /// How often a health check was begun.
    pub(crate) probes: Arc<Mutex<usize>>,
}

struct Probes(Arc<Mutex<usize>>);

#[async_trait]
impl Prober for Probes {
    async fn wait_healthy(
        &self,
        driver: Arc<dyn Driver>,
        name: &str,
        health: &Health,
        _: Option<SocketAddr>,
    ) -> Result<()> {
        *self.0.lock().unwrap() += 1;
        driver.exec(name, &Exec::new(health.exec.clone().unwrap())).await.map(|_| ())
    }
}

/// Every secret may go anywhere, and none has a value.
struct NoValues;

#[async_trait]
impl Secrets for NoValues {
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        Err(Error::new(Code::SecretSource, format!("secret `{name}` has no value")))
    }

    fn may_go(&self, _: &str, _: &str) -> Result<bool> {
        Ok(true)
    }
}

impl Bench {
    /// A machine without any engine.
    pub(crate) fn new() -> Self {
        Self::with_socket(false)
    }

    /// A machine whose engine has a socket at which nothing answers.
    pub(crate) fn with_dead_engine() -> Self {
        Self::with_socket(true)
    }

    fn with_socket(exists: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("podman.sock");
        if exists {
            std::fs::write(&socket, "").unwrap();
        }
        let probes = Arc::new(Mutex::new(0));
        let engines = Engines {
            podman: podman::Options { socket: Some(socket), state_dir: dir.path().to_owned() },
            ..Engines::default()
        };
        let world = World::new(
            Choice::Auto,
            &engines,
            process::Options::new(dir.path().to_owned(), shim()),
            Arc::new(Probes(probes.clone())),
        );
        Self { dir, world, probes }
    }

    pub(crate) fn context(&self, mode: Mode, allow: &[&str]) -> Context {
        let allow = allow.iter().map(|text| (*text).to_owned()).collect();
        let clock = Arc::new(SystemClock);
        let shared = Shared {
            run: RunId::new(Timestamp(1_800_000_000_000), 1),
            node: "rift".into(),
            mode,
            policy: Policy::new(None, &Grants { allow, ..Grants::default() }).unwrap(),
            secrets: Arc::new(NoValues),
            sealer: Arc::new(Sealer::ephemeral()),
            journal: Journal::open(&self.dir.path().join("journal"), clock.clone()).unwrap(),
            clock,
            root: self.dir.path().to_owned(),
            overlay: Overlay::default(),
        };
        let identity = Identity { scope: String::new(), counter: 1, name: "containers.test".into() };
        Context::new(Arc::new(shared), identity)
    }

    pub(crate) fn run(&self, allow: &[&str]) -> Context {
        self.context(Mode::Run, allow)
    }

    /// Compares, as plan and run do.
    pub(crate) async fn change(
        &self,
        context: &Context,
        ensure: &Ensure,
    ) -> Result<(Option<Container>, Change<Container>)> {
        let before = ensure.observe(&self.world, context).await?;
        let change = ensure.change(&self.world, context, before.as_ref()).await?;
        Ok((before, change))
    }

    pub(crate) async fn ensure(&self, context: &Context, ensure: &Ensure) -> Result<Applied<Container>> {
        let (before, change) = self.change(context, ensure).await?;
        ensure.apply(&self.world, context, before.as_ref(), &change).await
    }

    /// Starts a native program with `more` fields.
    pub(crate) async fn started(&self, more: Value) -> Observed {
        self.ensure(&self.run(&["*"]), &sleeping(more)).await.unwrap();
        self.live().await.unwrap()
    }

    pub(crate) async fn live(&self) -> Option<Observed> {
        self.world.process().inspect(NAME).await.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let driver = self.world.process().clone();
        // Its own runtime on its own thread: the test's may be unwinding.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(driver.remove(NAME, true))
        });
        let _ = cleaning.join();
    }
}

/// The effect of type `E` with these arguments.
pub(crate) fn effect<E: DeserializeOwned>(arguments: Value) -> E {
    serde_json::from_value(arguments).unwrap()
}

pub(crate) fn sleeping(more: Value) -> Ensure {
    let mut arguments = json!({ "name": NAME, "exec": ["/bin/sleep", "1000"], "stop_timeout": "0s" });
    let Value::Object(more) = more else { panic!("{more} is no table") };
    arguments.as_object_mut().unwrap().extend(more);
    effect(arguments)
}

/// The capability to run `program`, by its own path.
pub(crate) fn may_run(program: &str) -> String {
    format!("exec:write:{}", Path::new(program).canonicalize().unwrap().display())
}

/// The example `shim`, which cargo builds along with the tests.
fn shim() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let shim = test.parent().unwrap().parent().unwrap().join("examples/shim");
    assert!(shim.exists(), "{} is missing: run `cargo build --examples`", shim.display());
    shim
}
