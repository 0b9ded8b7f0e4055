//! The docker driver: Docker's own interface over a unix socket. Owns what docker says differently from other engines,
//! and its traps; what they share is [`crate::engine`]'s.

mod create;
mod socket;

use std::path::PathBuf;

use effect::{Code, Error, Result};
use serde_json::json;

use crate::diff::FieldDiff;
use crate::engine::client::{Call, Interface};
use crate::engine::{Dialect, Engine};
use crate::features::Feature;
use crate::secrets::Store;
use crate::spec::{Secrets, Spec};

/// Limits cannot be lifted in place: docker takes a missing one for "as it is".
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
    Feature::UpdateRestart,
];

/// How to reach docker.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The socket; looked for in the usual places unless given.
    pub socket: Option<PathBuf>,
}

/// The driver.
pub type Docker = Engine<Moby>;

/// What docker says differently.
pub struct Moby;

impl Docker {
    /// A driver that connects when it is first needed. It starts nothing: docker's daemon is the machine's own.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self::at(Box::new(socket::Locator::new(options.socket.clone())))
    }
}

impl Dialect for Moby {
    /// Spoken since 19.03.
    const INTERFACE: Interface = Interface { name: "docker", prefix: "/v1.40" };
    const FEATURES: &'static [Feature] = FEATURES;
    const CHANGES_STOPPED: bool = true;
    const LISTS_STARTS: bool = false;

    fn check(spec: &Spec) -> Result<()> {
        if spec.name.len() < 2 {
            let message = format!("name: docker takes no name of one letter, such as `{}`", spec.name);
            return Err(Error::new(Code::Argument, message).hint("choose a longer one"));
        }
        Ok(())
    }

    fn trusted_authorities() -> PathBuf {
        PathBuf::from("/etc/docker/certs.d")
    }

    fn create(spec: &Spec, secrets: &Secrets, store: &Store, hash: &str) -> Result<Call> {
        let path = format!("/containers/create?name={}", spec.name);
        Ok(Call::post(path).json(&create::body(spec, secrets, store, hash)?))
    }

    fn update(reference: &str, fields: &[FieldDiff], spec: &Spec) -> Option<Call> {
        let is_setting = |field: &FieldDiff| matches!(field.path.as_str(), "memory" | "cpus" | "restart");
        let call = || {
            let mut body = create::limits(spec);
            body.insert("RestartPolicy".to_owned(), create::restart(spec));
            Call::post(format!("/containers/{reference}/update")).json(&json!(body))
        };
        fields.iter().any(is_setting).then(call)
    }

    fn stop(reference: &str, seconds: u64) -> String {
        format!("/containers/{reference}/stop?t={seconds}")
    }

    fn remove(reference: &str, force: bool) -> String {
        format!("/containers/{reference}?force={force}&v=true")
    }
}
