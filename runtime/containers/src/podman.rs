//! The podman driver: libpod's REST interface over a unix socket, rootful and rootless. Owns what podman says differently
//! from other engines, and its traps; what they share is [`crate::engine`]'s.

mod create;
mod orphans;
mod service;

use std::path::{Path, PathBuf};

use effect::Result;

use crate::diff::FieldDiff;
use crate::engine::client::{Call, Client, Interface};
use crate::engine::{Dialect, Engine};
use crate::features::Feature;
use crate::orphans::{End, Orphan};
use crate::secrets::Store;
use crate::spec::{Secrets, Spec};

const FEATURES: &[Feature] = &[
    Feature::Image,
    Feature::Entrypoint,
    Feature::Secrets,
    Feature::Volumes,
    Feature::SamePathVolumes,
    Feature::ReadOnlyVolumes,
    Feature::NamedVolumes,
    Feature::Ports,
    Feature::PortMapping,
    Feature::PortAddress,
    Feature::UdpPorts,
    Feature::Network,
    Feature::HostNetwork,
    Feature::NoNetwork,
    Feature::User,
    Feature::Cpus,
    Feature::Memory,
    Feature::ReadOnly,
    Feature::Privileged,
    Feature::Devices,
    Feature::CapAdd,
    Feature::Terminal,
    Feature::Pause,
    Feature::UpdateMemory,
    Feature::UpdateCpus,
    Feature::LiftLimits,
];
/// How to reach podman.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The socket; looked for in the usual places unless given.
    pub socket: Option<PathBuf>,
    /// Where the socket of a service that mcrun starts itself is put.
    pub state_dir: PathBuf,
}

impl Options {
    /// Whether a service was set up on this machine, so that none has to be started; looks at files only.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.locator().is_set_up()
    }

    fn locator(&self) -> service::Locator {
        service::Locator::new(self.socket.clone(), self.state_dir.clone())
    }
}

/// The driver.
pub type Podman = Engine<Libpod>;

/// What podman says differently.
#[derive(Default)]
pub struct Libpod {
    looks: orphans::Looks,
}

impl Podman {
    /// A driver that connects when it is first needed.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self::at(Box::new(options.locator()))
    }
}

impl Dialect for Libpod {
    const INTERFACE: Interface = Interface { name: "podman", prefix: "/v4.0.0/libpod" };
    const FEATURES: &'static [Feature] = FEATURES;
    const CHANGES_STOPPED: bool = false;
    const LISTS_STARTS: bool = true;

    fn trusted_authorities() -> PathBuf {
        let of_user = || {
            let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
            folder.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
        };
        let is_root = rustix::process::geteuid().is_root();
        let base = if is_root { None } else { of_user() };
        base.unwrap_or_else(|| PathBuf::from("/etc")).join("containers/certs.d")
    }

    fn create(spec: &Spec, secrets: &Secrets, store: &Store, hash: &str) -> Result<Call> {
        Ok(Call::post("/containers/create").json(&create::body(spec, secrets, store, hash)?))
    }

    fn update(reference: &str, fields: &[FieldDiff], spec: &Spec) -> Option<Call> {
        let is_limit = |field: &FieldDiff| matches!(field.path.as_str(), "memory" | "cpus");
        let call = || Call::post(format!("/containers/{reference}/update")).json(&create::limits(spec, true));
        fields.iter().any(is_limit).then(call)
    }

    fn stop(reference: &str, seconds: u64) -> String {
        format!("/containers/{reference}/stop?timeout={seconds}")
    }

    fn remove(reference: &str, force: bool) -> String {
        // `v` is the compat interface's name and does nothing here.
        format!("/containers/{reference}?force={force}&volumes=true")
    }

    async fn check_free(&self, client: &Client, spec: &Spec) -> Result<()> {
        self.looks.check_free(client, spec).await
    }

    async fn orphans(&self, client: &Client) -> Result<Vec<Orphan>> {
        self.looks.find(client).await
    }

    async fn release(&self, client: &Client, orphan: &Orphan, end: &End<'_>) -> Result<()> {
        let store = self.looks.store(client).await?;
        orphans::release(&store, client, orphan, end).await
    }
}
