//! Owns the choice of driver: which one makes a spec, and which one has a container of a name.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Result, Sealer, Secret};
use zeroize::Zeroizing;

use crate::adopt::Description;
use crate::claims::{Claimed, Claims};
use crate::docker::{self, Docker};
use crate::driver::Driver;
use crate::images::Images;
use crate::observed::Observed;
use crate::podman::{self, Podman};
use crate::process::{self, Process};
use crate::spec::{Health, SecretMaterial, Spec};

/// `drivers.containers` of `mcrun.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// Images go to the engine that is found, native programs to the process driver.
    #[default]
    Auto,
    /// Images go to podman; native programs to the process driver.
    Podman,
    /// Images go to docker; native programs to the process driver.
    Docker,
    /// Only native programs.
    Process,
}

/// Probes the health of a container; the `system` crate's probes fill it in.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Waits until `health` passes at `address`, or fails with `MC-H001`.
    async fn wait_healthy(
        &self,
        driver: Arc<dyn Driver>,
        name: &str,
        health: &Health,
        address: Option<SocketAddr>,
    ) -> Result<()>;

    /// Lets a while pass before the next look.
    async fn pause(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// How the engines are reached.
#[derive(Debug, Clone, Default)]
pub struct Engines {
    /// podman.
    pub podman: podman::Options,
    /// docker.
    pub docker: docker::Options,
}

impl Engines {
    /// The engine for images, and whether it is worth asking: looks at files only. Where both could be had, a service
    /// that is set up comes before a podman that would have to be started first.
    fn choose(&self, choice: Choice) -> (Arc<dyn Driver>, bool) {
        let docker = Docker::new(&self.docker);
        let podman = Podman::new(&self.podman);
        let is_docker = match choice {
            Choice::Docker => true,
            Choice::Podman | Choice::Process => false,
            Choice::Auto => !self.podman.is_set_up() && docker.is_plausible(),
        };
        let is_plausible = choice != Choice::Auto || is_docker || podman.is_plausible();
        if is_docker { (Arc::new(docker), is_plausible) } else { (Arc::new(podman), is_plausible) }
    }
}

/// What the effects of the primitive need: the drivers, connected when first used.
pub struct World {
    choice: Choice,
    engine: Arc<dyn Driver>,
    engine_is_plausible: bool,
    process: Arc<dyn Driver>,
    pub(super) prober: Arc<dyn Prober>,
}

impl World {
    /// The drivers as configured. Nothing is contacted yet.
    #[must_use]
    pub fn new(
        choice: Choice,
        engines: &Engines,
        process: process::Options,
        prober: Arc<dyn Prober>,
    ) -> Self {
        let (engine, engine_is_plausible) = engines.choose(choice);
        Self { choice, engine, engine_is_plausible, process: Arc::new(Process::new(process)), prober }
    }

    /// A world of these two drivers: one for images, one for native programs.
    #[must_use]
    pub fn of(engine: Arc<dyn Driver>, process: Arc<dyn Driver>, prober: Arc<dyn Prober>) -> Self {
        Self { choice: Choice::Podman, engine, engine_is_plausible: true, process, prober }
    }

    /// The same, where containers that the engine has without our labels may have been taken over.
    #[must_use]
    pub fn claiming(mut self, claims: Arc<dyn Claims>) -> Self {
        self.engine = Arc::new(Claimed { driver: self.engine, claims });
        self
    }

    /// The engine for images.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Driver> {
        &self.engine
    }

    /// The engine as far as images go; `None` where only native programs run.
    #[must_use]
    pub fn images(&self) -> Option<Arc<dyn Images>> {
        if self.choice == Choice::Process { None } else { self.engine.images() }
    }

    /// Whether it is worth asking the engine: false where nothing looks as if there were one.
    pub(crate) fn may_have_images(&self) -> bool {
        self.engine_is_plausible
    }

    /// The driver of native programs.
    #[must_use]
    pub fn process(&self) -> &Arc<dyn Driver> {
        &self.process
    }

    /// The driver that makes `spec`.
    pub(super) fn driver_for(&self, spec: &Spec) -> &Arc<dyn Driver> {
        if spec.exec.is_some() || self.choice == Choice::Process { &self.process } else { &self.engine }
    }

    /// The driver that had a container, as far as it is still the one in use.
    pub(super) fn driver_named(&self, name: &str) -> Option<&Arc<dyn Driver>> {
        self.drivers().find(|driver| driver.name() == name)
    }

    /// The drivers that may have containers: that of native programs first.
    pub fn drivers(&self) -> impl Iterator<Item = &Arc<dyn Driver>> {
        let engine = (self.choice != Choice::Process && self.engine_is_plausible).then_some(&self.engine);
        std::iter::once(&self.process).chain(engine)
    }

    /// Whether an engine that does not answer is missed: where one was chosen, and not merely looked for.
    #[must_use]
    pub fn is_engine_chosen(&self) -> bool {
        self.choice != Choice::Auto
    }

    /// Describes a container that somebody else has made.
    ///
    /// # Errors
    /// `MC-C030` when it does not run, or is of a kind that no definition means exactly.
    pub async fn describe(&self, live: &Observed) -> Result<Description> {
        let driver = self.driver_named(&live.driver).unwrap_or(&self.engine);
        crate::adopt::describe(driver.as_ref(), live).await
    }

    /// Goes on without an engine that does not answer, unless it was chosen.
    pub(super) fn tolerate<T>(&self, answer: Result<T>) -> Result<Option<T>> {
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.code == Code::EngineUnavailable && self.choice == Choice::Auto => {
                tracing::debug!(%error, "no container engine");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Every container of every driver, by name.
    ///
    /// # Errors
    /// When a driver that answers fails, or the chosen engine does not answer.
    pub async fn list(&self) -> Result<Vec<Observed>> {
        let mut containers = Vec::new();
        for driver in self.drivers() {
            containers.extend(self.tolerate(driver.list().await)?.unwrap_or_default());
        }
        containers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(containers)
    }

    /// The container called `name` and the driver that has it.
    ///
    /// # Errors
    /// When a driver fails, and also when an engine that is there does not answer: it may well have the container.
    pub async fn find(&self, name: &str) -> Result<Option<(&Arc<dyn Driver>, Observed)>> {
        for driver in self.drivers() {
            if let Some(observed) = driver.inspect(name).await? {
                return Ok(Some((driver, observed)));
            }
        }
        Ok(None)
    }

    /// The container that stands where `spec` is to stand. A native program does not wait for an engine to answer.
    pub(super) async fn find_for(&self, spec: &Spec) -> Result<Option<(&Arc<dyn Driver>, Observed)>> {
        let found = self.find(&spec.name).await;
        if spec.exec.is_some() { Ok(self.tolerate(found)?.flatten()) } else { found }
    }

    /// The program's own path, by which it is known to the policy.
    pub(super) fn program(argv: &[String]) -> PathBuf {
        let path = PathBuf::from(argv.first().map(String::as_str).unwrap_or_default());
        std::fs::canonicalize(&path).unwrap_or(path)
    }

    /// The path that a mount really reaches: links are followed before the policy looks at it.
    pub(super) fn resolved(path: &str) -> String {
        process::resolved(Path::new(path)).to_string_lossy().into_owned()
    }

    /// What a secret's destination is called for a container.
    pub(super) fn destination(name: &str) -> String {
        format!("containers:{name}")
    }

    /// The text by which a changed secret is noticed: the hashes of its parts.
    #[must_use]
    pub fn secret_tag(secret: &Secret, sealer: &Sealer) -> String {
        sealer.tag(handle(secret).as_bytes())
    }

    /// What a driver gets of a secret: its value, and what tells by which secret it is found again.
    pub(super) fn material(secret: &Secret, value: Zeroizing<Vec<u8>>, sealer: &Sealer) -> SecretMaterial {
        let handle = handle(secret);
        SecretMaterial { value, tag: sealer.tag(handle.as_bytes()), origin: sealer.hide(handle.as_bytes()) }
    }
}

/// A secret as it is written down: names and hashes, no value.
fn handle(secret: &Secret) -> String {
    serde_json::to_string(secret).expect("a secret handle is plain data")
}
