//! Owns [`Observed`]: the live object as its driver sees it, in the same normal forms as the spec.

use std::collections::BTreeMap;

use effect::Hidden;
use effect::units::{Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::{Health, Port, Restart};

/// Marks what mcrun made; a container without it is foreign.
pub const LABEL_MANAGED: &str = "mcrun.managed";
/// The service that a container belongs to.
pub const LABEL_SERVICE: &str = "mcrun.service";
/// A hash of the spec, a hint for people and never the diff.
pub const LABEL_SPEC: &str = "mcrun.spec";
/// The image with tag and digest: an engine keeps one of them only.
pub const LABEL_IMAGE: &str = "mcrun.image";
/// The health check as JSON: mcrun probes itself, so the engine only keeps it.
pub const LABEL_HEALTH: &str = "mcrun.health";
/// Prefix of the keyed hash of each secret.
pub const LABEL_SECRET: &str = "mcrun.secret.";
/// Prefix of the sealed origin of each secret, by which only this state directory finds it again.
pub const LABEL_ORIGIN: &str = "mcrun.origin.";

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Made and never started.
    Created,
    /// Its program runs.
    Running,
    /// Its program is frozen.
    Paused,
    /// It ended and waits for its next start.
    Restarting,
    /// It is being stopped.
    Stopping,
    /// Its program ended.
    Exited,
    /// The engine has it in a state that only a replacement ends.
    Broken,
}

impl State {
    /// The word as it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Exited => "exited",
            Self::Broken => "broken",
        }
    }
}

/// The live object. Environment values are as sensitive as secrets: whoever shows or stores one seals them first.
///
/// `V` is an environment value: text as a driver reads it, sealed once it leaves the primitive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Container")]
pub struct Observed<V = String> {
    /// The name.
    pub name: String,
    /// The driver that has it, `podman`, `docker` or `process`.
    pub driver: String,
    /// The engine's own id.
    pub id: String,
    /// What it is doing.
    pub state: State,
    /// The exit code of its last end; 128 + n when signal n ended it.
    pub exit_code: Option<i32>,
    /// The process id on the host.
    pub pid: Option<u32>,
    /// When it was started last, as RFC 3339 in UTC.
    pub started_at: Option<String>,
    /// How many times it was started again.
    pub restarts: u32,
    /// Whether it is mcrun's: made by it, or taken over.
    pub managed: bool,
    /// Whether it was made without mcrun and taken over as it is, by `mcrun adopt`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The service that it belongs to.
    pub service: Option<String>,
    /// The image by name.
    pub image: Option<String>,
    /// The image by its content.
    pub image_id: Option<String>,
    /// Whether it is a native program.
    pub native: bool,
    /// The whole argument vector: entry point and arguments.
    pub argv: Vec<String>,
    /// The environment.
    pub env: BTreeMap<String, V>,
    /// The keyed hash of each secret whose file is in place.
    pub secrets: BTreeMap<String, String>,
    /// Where each secret came from, sealed: undo finds it again. The value is not kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub origins: BTreeMap<String, Hidden>,
    /// Mounts in their normal form, sorted.
    pub volumes: Vec<String>,
    /// Published ports, one for each protocol, sorted.
    pub ports: Vec<Port>,
    /// The network it is attached to.
    pub network: String,
    /// The user as it was given; empty for the engine's default.
    pub user: String,
    /// The restart policy.
    pub restart: Restart,
    /// Labels, without mcrun's own.
    pub labels: BTreeMap<String, String>,
    /// The processor limit.
    pub cpus: Option<f64>,
    /// The memory limit.
    pub memory: Option<Size>,
    /// The health check.
    pub health: Option<Health>,
    /// The stop signal.
    pub stop_signal: String,
    /// The time between stop signal and SIGKILL.
    pub stop_timeout: Span,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// The directory that the program started in.
    pub workdir: String,
    /// Whether it has all privileges of the host.
    pub privileged: bool,
    /// Devices in the form of the spec, sorted.
    pub devices: Vec<String>,
    /// Capabilities that it has beyond the engine's default set, without `CAP_`, sorted.
    pub cap_add: Vec<String>,
    /// All capabilities that it may have, likewise.
    pub capabilities: Vec<String>,
}

impl<V> Observed<V> {
    /// The same object with every environment value passed through `convert`.
    ///
    /// # Errors
    /// The first error of `convert`.
    pub fn try_map_env<W, E>(self, mut convert: impl FnMut(V) -> Result<W, E>) -> Result<Observed<W>, E> {
        let mut env = BTreeMap::new();
        for (name, value) in self.env {
            env.insert(name, convert(value)?);
        }
        Ok(Observed {
            env,
            name: self.name,
            driver: self.driver,
            id: self.id,
            state: self.state,
            exit_code: self.exit_code,
            pid: self.pid,
            started_at: self.started_at,
            restarts: self.restarts,
            managed: self.managed,
            adopted: self.adopted,
            service: self.service,
            image: self.image,
            image_id: self.image_id,
            native: self.native,
            argv: self.argv,
            secrets: self.secrets,
            origins: self.origins,
            volumes: self.volumes,
            ports: self.ports,
            network: self.network,
            user: self.user,
            restart: self.restart,
            labels: self.labels,
            cpus: self.cpus,
            memory: self.memory,
            health: self.health,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout,
            read_only: self.read_only,
            workdir: self.workdir,
            privileged: self.privileged,
            devices: self.devices,
            cap_add: self.cap_add,
            capabilities: self.capabilities,
        })
    }

    /// Whether its program runs now or will be started again without help.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Running | State::Restarting)
    }
}

/// What an image says for the fields that a spec leaves out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageDefaults {
    /// The image by its content.
    pub id: String,
    /// The names it is known by on this node.
    pub names: Vec<String>,
    /// The digests under which registries have it, with repositories.
    pub digests: Vec<String>,
    /// The program.
    pub entrypoint: Vec<String>,
    /// Its arguments.
    pub cmd: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The user; empty for root.
    pub user: String,
    /// The directory to start in; empty for `/`.
    pub workdir: String,
    /// The stop signal.
    pub stop_signal: Option<String>,
    /// Paths that become anonymous volumes.
    pub volumes: Vec<String>,
    /// Ports that the program listens on, as `8080/tcp`.
    pub exposed: Vec<String>,
    /// The image's own health check.
    pub health: Option<Health>,
}
