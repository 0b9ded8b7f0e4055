//! Owns the world of `mcrun test`: a machine in memory, a clock that waits for nobody, faults and answers as the test
//! says, and the memory of what was done. Scripts take the same corridor as ever; only its far end is here.

mod answers;
mod clock;
mod effects;
mod faults;
mod gateway;
mod images;
mod machine;
mod nested;
mod scratch;
mod seen;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use effect::{Asked, Code, Context, Error, Kind, Registry, Result, Secrets, StandIn};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::app::App;
use crate::arguments::Global;
use crate::config::Config;
use crate::health::Services;

use self::answers::Answers;
use self::clock::TestClock;
use self::faults::{Faults, Moment};
use self::gateway::Gateway;
use self::machine::Machine;
use self::scratch::Scratch;
pub(crate) use self::seen::{Recorder, Seen};

/// The name of the node that tests run on.
const NODE: &str = "test";

/// The world of one test.
pub(crate) struct Kit {
    folder: tempfile::TempDir,
    scratch: Scratch,
    clock: Arc<TestClock>,
    machine: Arc<Machine>,
    gateway: Arc<Gateway>,
    story: Mutex<Story>,
    /// The test that runs in this world; none while tests are only listed.
    selected: Option<String>,
    global: Global,
    /// For effects that hand the world on to a thread of their own.
    itself: Weak<Kit>,
}

/// What a test has said and done.
#[derive(Default)]
struct Story {
    faults: Faults,
    answers: Answers,
    seen: Vec<Seen>,
    /// The tests that came up, in order.
    names: Vec<String>,
}

impl Kit {
    /// A fresh world for the test file in `root`.
    pub(crate) fn new(global: &Global, root: &Path, selected: Option<String>) -> Result<Arc<Self>> {
        let failed = |error: std::io::Error| {
            Error::new(Code::StateUnusable, "there is no room for a test's temporary files").because(error)
        };
        let folder = tempfile::Builder::new().prefix("mcrun-test-").tempdir().map_err(failed)?;
        let scratch = Scratch::new(&folder.path().join("files"), root).map_err(failed)?;
        let clock = Arc::new(TestClock::default());
        Ok(Arc::new_cyclic(|itself| Self {
            scratch,
            machine: Machine::new(clock.clone()),
            gateway: Arc::default(),
            clock,
            folder,
            story: Mutex::default(),
            selected,
            global: global.clone(),
            itself: itself.clone(),
        }))
    }

    /// An installation of its own, in a temporary folder.
    pub(crate) fn app(self: &Arc<Self>) -> Result<App> {
        let state = self.folder.path().join("state");
        let journal = journal::Journal::open(&state, self.clock.clone())?;
        let sealer = Arc::new(effect::Sealer::open(&state)?);
        let certs = certs::Settings { everything: true, ..certs::Settings::default() };
        let config = Config { certs, ..Config::default() };
        let settings = system::secrets::sealed::Settings::default();
        let vault = system::secrets::sealed::Vault::new(journal.clone(), NODE, sealer.clone(), settings);
        Ok(App {
            vault: Arc::new(vault),
            live: tokio::sync::watch::Sender::new(Arc::new(config.clone())),
            config,
            state,
            node: NODE.to_owned(),
            journal,
            sealer,
            clock: self.clock.clone(),
            global: self.global.clone(),
            worker: std::cell::Cell::default(),
            template: std::cell::OnceCell::new(),
            identity: Arc::default(),
            refusals: Arc::default(),
            renewing: std::cell::Cell::default(),
            kit: Some(self.clone()),
        })
    }

    /// Every effect, with the machine in memory and this kit before the world, and the effects of the kit itself.
    pub(crate) fn registry(
        self: &Arc<Self>,
        root: &Path,
        certificates: Arc<certs::effects::World>,
        names: Arc<dns::effects::World>,
        identity: &Arc<mcias::effects::World>,
    ) -> Result<Registry> {
        let containers = self.machine.world();
        let mut registry = Registry::default();
        let system = system::World::new(root, Arc::new(Services(containers.clone())));
        system::register(&mut registry, &system);
        containers::effects::register(&mut registry, &containers);
        // Nothing here fails in a way that another attempt would mend, so nothing is spread.
        let images = containers::images::effects::World::new(containers, root, Arc::new(|| 0.0));
        containers::images::effects::register(&mut registry, &Arc::new(images));
        certs::effects::register(&mut registry, &certificates);
        certs::effects::ssh::register_ssh(&mut registry, certificates.ssh());
        dns::effects::register(&mut registry, &names);
        mcias::effects::register(&mut registry, identity);
        routes::effects::register(&mut registry, &self.gateway.world());
        let stand_in: Arc<dyn StandIn> = Arc::new(Before(self.clone()));
        registry.stand_in(&stand_in);
        effects::register(&mut registry, self);
        Ok(registry)
    }

    /// The tests that came up.
    pub(crate) fn names(&self) -> Vec<String> {
        self.story().names.clone()
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Declares the effects of the kit, for types and pages; they act only in a test.
pub(crate) fn declare(registry: &mut Registry, global: &Global) -> Result<()> {
    effects::register(registry, &Kit::new(global, Path::new("/"), None)?);
    Ok(())
}

/// Every secret that a script under test names is there and may go anywhere.
pub(crate) struct AnySecret;

#[async_trait]
impl Secrets for AnySecret {
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(format!("the secret {name}").into_bytes()))
    }

    fn may_go(&self, _: &str, _: &str) -> Result<bool> {
        Ok(true)
    }
}

/// Stands before the world.
struct Before(Arc<Kit>);

impl Before {
    fn check(&self, asked: Asked<'_>, moment: Moment) -> Result<()> {
        self.0.story().faults.meet(asked, moment)
    }
}

#[async_trait]
impl StandIn for Before {
    fn relocate(&self, effect: &'static str, arguments: &mut Value) {
        self.0.scratch.relocate(effect, arguments);
    }

    fn restore(&self, value: &mut Value) {
        self.0.scratch.restore(value);
    }

    async fn answer(&self, asked: Asked<'_>, context: &Context) -> Option<Result<Value>> {
        let performs = !context.planning();
        // A plan performs nothing, so nothing in it can fail on the way.
        if performs && let Err(error) = self.check(asked, Moment::Before) {
            return Some(Err(error));
        }
        let answer = match asked.name {
            "sleep" => Some(self.0.clock.sleep(asked.arguments).map(|()| Value::Null)),
            "health.gate" if performs => Some(self.0.clock.gate(asked.arguments)),
            "health.gate" => Some(Ok(json!({ "passed": true, "since": 0 }))),
            _ => self.0.story().answers.find(asked),
        };
        match answer {
            Some(Ok(_)) if performs && asked.kind != Kind::Read => {
                Some(self.check(asked, Moment::After).and(answer?))
            }
            answer => answer,
        }
    }

    async fn before(&self, asked: Asked<'_>, _: &Context) -> Result<()> {
        self.check(asked, Moment::Before)
    }

    async fn after(&self, asked: Asked<'_>, _: &Context) -> Result<()> {
        self.check(asked, Moment::After)
    }
}
