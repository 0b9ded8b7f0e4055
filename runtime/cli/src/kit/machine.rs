//! Owns the machine in memory: two drivers of containers, one for images and one for native programs, which implement the
//! same trait as the real ones and start nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use containers::diff::predict;
use containers::effects::{Prober, World};
use containers::images::Images;
use containers::{
    Attach, Attached, Driver, Exec, ExecOutput, Feature, FieldDiff, Health, ImageDefaults, LogLine, LogQuery,
    Observed, Secrets, Spec, State, Stream, Usage,
};
use effect::{Code, Error, Result};
use journal::Clock as _;
use tokio::sync::mpsc;

use super::clock::TestClock;
use super::images::{Shelf, Store, defaults, find, fingerprint};

/// Everything that runs, by name.
pub(super) struct Machine {
    live: Mutex<BTreeMap<String, Observed>>,
    images: Mutex<Shelf>,
    pub(super) clock: Arc<TestClock>,
}

impl Machine {
    pub(super) fn new(clock: Arc<TestClock>) -> Arc<Self> {
        Arc::new(Self { live: Mutex::default(), images: Mutex::default(), clock })
    }

    /// The world of the effects on containers.
    pub(super) fn world(self: &Arc<Self>) -> Arc<World> {
        let options = containers::podman::Options { socket: None, state_dir: "/".into() };
        // Only asked what it can do: what passes in a test has to pass on a machine with an engine.
        let features = containers::podman::Podman::new(&options).features();
        let images = Memory { machine: self.clone(), name: ENGINE, features };
        let programs = Memory { machine: self.clone(), name: "process", features: NATIVE };
        Arc::new(World::of(Arc::new(images), Arc::new(programs), Arc::new(Content(self.clock.clone()))))
    }

    pub(super) fn live(&self) -> MutexGuard<'_, BTreeMap<String, Observed>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taken before `live` where both are.
    pub(super) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver that has images.
const ENGINE: &str = "podman";
/// What native programs can do for any user.
const NATIVE: &[Feature] = &[
    Feature::Exec,
    Feature::Secrets,
    Feature::SamePathVolumes,
    Feature::Ports,
    Feature::HostNetwork,
    Feature::User,
    Feature::UpdateRestart,
    Feature::UpdateStop,
    Feature::UpdateLabels,
];

/// Every container is healthy: a fault on `containers.wait_healthy` says otherwise.
struct Content(Arc<TestClock>);

#[async_trait]
impl Prober for Content {
    async fn wait_healthy(
        &self,
        _: Arc<dyn Driver>,
        _: &str,
        _: &Health,
        _: Option<SocketAddr>,
    ) -> Result<()> {
        Ok(())
    }

    async fn pause(&self, span: Duration) {
        self.0.pass(span);
    }
}

struct Memory {
    machine: Arc<Machine>,
    name: &'static str,
    features: &'static [Feature],
}

impl Memory {
    /// Does something to a container of this driver, if it is there.
    fn with<T>(&self, name: &str, change: impl FnOnce(&mut Observed) -> T) -> Option<T> {
        self.machine.live().get_mut(name).filter(|found| found.driver == self.name).map(change)
    }

    fn image_of(&self, spec: &Spec) -> Option<ImageDefaults> {
        spec.image.as_deref().map(|image| self.defaults(image))
    }

    /// What is on the node, else what a registry would have: nobody has to bring the image of a container first.
    fn defaults(&self, image: &str) -> ImageDefaults {
        let held = find(&self.machine.shelf(), image).and_then(|held| held.defaults.clone());
        held.unwrap_or_else(|| defaults(image))
    }

    fn unknown(name: &str) -> Error {
        Error::new(Code::ContainerUnknown, format!("there is no container `{name}`"))
    }
}

#[async_trait]
impl Driver for Memory {
    fn name(&self) -> &'static str {
        self.name
    }

    fn place(&self) -> String {
        "in memory".to_owned()
    }

    fn features(&self) -> &'static [Feature] {
        self.features
    }

    async fn image_defaults(&self, image: &str) -> Result<Option<ImageDefaults>> {
        Ok(Some(self.defaults(image)))
    }

    fn images(&self) -> Option<Arc<dyn Images>> {
        (self.name == ENGINE).then(|| Arc::new(Store(self.machine.clone())) as Arc<dyn Images>)
    }

    async fn inspect(&self, name: &str) -> Result<Option<Observed>> {
        Ok(self.with(name, |found| found.clone()))
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        let live = self.machine.live();
        Ok(live.values().filter(|found| found.driver == self.name).cloned().collect())
    }

    async fn create(&self, spec: &Spec, image: Option<&ImageDefaults>, secrets: &Secrets) -> Result<()> {
        if let Some(image) = &spec.image {
            Store(self.machine.clone()).hold(image);
        }
        let mut live = self.machine.live();
        if live.contains_key(&spec.name) {
            return Err(Error::new(Code::EngineFailed, format!("the name `{}` is in use", spec.name)));
        }
        let tags = secrets.iter().map(|(name, secret)| (name.clone(), secret.tag.clone())).collect();
        let mut made = predict(spec, image, None, &tags, self.name)?;
        made.id = format!("{:016x}", fingerprint(&spec.name));
        made.state = State::Created;
        live.insert(spec.name.clone(), made);
        Ok(())
    }

    async fn update(&self, name: &str, _: &[FieldDiff], spec: &Spec) -> Result<()> {
        let image = self.image_of(spec);
        let changed = self.with(name, |found| {
            let state = found.state;
            let made = predict(spec, image.as_ref(), Some(found), &found.secrets.clone(), self.name)?;
            *found = Observed { state, ..made };
            Ok(())
        });
        changed.unwrap_or_else(|| Err(Self::unknown(name)))
    }

    async fn start(&self, name: &str) -> Result<Observed> {
        let mut live = self.machine.live();
        let Some(own) = live.get(name).filter(|found| found.driver == self.name) else {
            return Err(Self::unknown(name));
        };
        let mut others = live.values().filter(|other| other.name != name && other.is_up());
        let clash = others.find_map(|other| {
            let taken = |port: &&containers::Port| {
                own.ports.iter().any(|own| {
                    let same_address =
                        own.address == port.address || own.address.is_none() || port.address.is_none();
                    own.host == port.host && own.protocol == port.protocol && same_address
                })
            };
            other.ports.iter().find(taken).map(|port| (port.host, other.name.clone()))
        });
        if let Some((port, holder)) = clash {
            return Err(Error::new(
                Code::PortOccupied,
                format!("port {port} is in use by container `{holder}`"),
            ));
        }
        let now = jiff::Timestamp::from_millisecond(self.machine.clock.now().0);
        let found = live.get_mut(name).ok_or_else(|| Self::unknown(name))?;
        found.state = State::Running;
        found.exit_code = None;
        found.started_at = now.ok().map(|at| at.to_string());
        Ok(found.clone())
    }

    async fn stop(&self, name: &str, _: Option<Duration>) -> Result<()> {
        self.with(name, |found| {
            if found.is_up() || found.state == State::Paused {
                found.state = State::Exited;
                found.exit_code = Some(0);
            }
        });
        Ok(())
    }

    async fn pause(&self, name: &str) -> Result<()> {
        let paused = self.with(name, |found| found.state = State::Paused);
        paused.ok_or_else(|| Self::unknown(name))
    }

    async fn remove(&self, name: &str, force: bool) -> Result<()> {
        match self.with(name, |found| found.is_up()) {
            Some(true) if !force => {
                Err(Error::new(Code::EngineFailed, format!("`{name}` runs: stop it first, or use force")))
            }
            Some(_) => {
                self.machine.live().remove(name);
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn logs(&self, name: &str, _: &LogQuery) -> Result<Vec<LogLine>> {
        let line = format!("{name} runs in memory and writes nothing else");
        Ok(vec![LogLine { stream: Stream::Stdout, line, at: None }])
    }

    async fn follow(&self, _: &str, _: &LogQuery) -> Result<mpsc::Receiver<LogLine>> {
        Ok(mpsc::channel(1).1)
    }

    async fn exec(&self, _: &str, _: &Exec) -> Result<ExecOutput> {
        Ok(ExecOutput { code: 0, stdout: String::new(), stderr: String::new(), truncated: false })
    }

    async fn attach(&self, name: &str, _: &Attach) -> Result<Attached> {
        Err(Error::new(
            Code::EngineFailed,
            format!("`{name}` exists in memory only: nothing can be attached to it"),
        ))
    }

    async fn stats(&self, name: &str) -> Result<Option<Usage>> {
        let is_up = self.with(name, |found| found.is_up()).ok_or_else(|| Self::unknown(name))?;
        Ok(is_up.then(Usage::default))
    }

    async fn ping(&self) -> Result<String> {
        Ok("in memory".to_owned())
    }
}
