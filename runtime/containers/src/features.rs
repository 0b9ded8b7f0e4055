//! Owns the list of what a driver may or may not be able to do, and the refusal of what it cannot.

use effect::{Code, Error, Result};
use serde::Serialize;

use crate::spec::{Protocol, Source, Spec};

/// One thing that a driver declares it can do. Its conformance suite runs for each declared one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Feature {
    /// Runs images.
    Image,
    /// Runs native programs.
    Exec,
    /// Replaces an image's entry point.
    Entrypoint,
    /// Hands over secrets as files in memory.
    Secrets,
    /// Mounts a path of the host elsewhere.
    Volumes,
    /// Takes a host path at its own place.
    SamePathVolumes,
    /// Makes mounts read-only.
    ReadOnlyVolumes,
    /// Keeps named volumes.
    NamedVolumes,
    /// Publishes ports.
    Ports,
    /// Publishes a port under another number.
    PortMapping,
    /// Binds a published port to one address.
    PortAddress,
    /// Publishes UDP ports.
    UdpPorts,
    /// Has networks of its own.
    Network,
    /// Uses the host's network.
    HostNetwork,
    /// Runs without any network but a loopback device.
    NoNetwork,
    /// Runs as another user.
    User,
    /// Limits processor time.
    Cpus,
    /// Limits memory.
    Memory,
    /// Makes the root file system read-only.
    ReadOnly,
    /// Gives all privileges.
    Privileged,
    /// Gives devices.
    Devices,
    /// Gives kernel capabilities.
    CapAdd,
    /// Gives a terminal to a program inside.
    Terminal,
    /// Freezes everything inside and lets it go on.
    Pause,
    /// Changes the memory limit in place.
    UpdateMemory,
    /// Changes the processor limit in place.
    UpdateCpus,
    /// Takes limits away in place.
    LiftLimits,
    /// Changes the restart policy in place.
    UpdateRestart,
    /// Changes stop signal and stop time-out in place.
    UpdateStop,
    /// Changes labels, service and health check in place.
    UpdateLabels,
}

impl Feature {
    /// The word as it is shown by `doctor`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Exec => "exec",
            Self::Entrypoint => "entrypoint",
            Self::Secrets => "secrets",
            Self::Volumes => "volumes",
            Self::SamePathVolumes => "same-path-volumes",
            Self::ReadOnlyVolumes => "read-only-volumes",
            Self::NamedVolumes => "named-volumes",
            Self::Ports => "ports",
            Self::PortMapping => "port-mapping",
            Self::PortAddress => "port-address",
            Self::UdpPorts => "udp-ports",
            Self::Network => "network",
            Self::HostNetwork => "host-network",
            Self::NoNetwork => "no-network",
            Self::User => "user",
            Self::Cpus => "cpus",
            Self::Memory => "memory",
            Self::ReadOnly => "read-only",
            Self::Privileged => "privileged",
            Self::Devices => "devices",
            Self::CapAdd => "cap-add",
            Self::Terminal => "terminal",
            Self::Pause => "pause",
            Self::UpdateMemory => "update-memory",
            Self::UpdateCpus => "update-cpus",
            Self::LiftLimits => "lift-limits",
            Self::UpdateRestart => "update-restart",
            Self::UpdateStop => "update-stop",
            Self::UpdateLabels => "update-labels",
        }
    }
}

/// The features that `spec` needs, each with the field that asks for it.
///
/// # Errors
/// `MC-A001` when a mount cannot be read.
pub fn needed(spec: &Spec) -> Result<Vec<(Feature, &'static str)>> {
    let mut needs = Vec::new();
    let mut need = |condition: bool, feature: Feature, field: &'static str| {
        if condition {
            needs.push((feature, field));
        }
    };
    need(spec.image.is_some(), Feature::Image, "image");
    need(spec.exec.is_some(), Feature::Exec, "exec");
    need(spec.entrypoint.is_some(), Feature::Entrypoint, "entrypoint");
    need(!spec.secrets.is_empty(), Feature::Secrets, "secrets");
    for mount in spec.mounts()? {
        match &mount.source {
            Source::Volume(_) => need(true, Feature::NamedVolumes, "volumes"),
            Source::Host(path) if *path == mount.target => need(true, Feature::SamePathVolumes, "volumes"),
            Source::Host(_) => need(true, Feature::Volumes, "volumes"),
        }
        need(mount.read_only, Feature::ReadOnlyVolumes, "volumes");
    }
    for port in &spec.ports {
        need(true, Feature::Ports, "ports");
        need(port.host != port.container, Feature::PortMapping, "ports");
        need(port.address.is_some(), Feature::PortAddress, "ports");
        need(port.protocol != Protocol::Tcp, Feature::UdpPorts, "ports");
    }
    match spec.network.as_deref() {
        None => {}
        Some("host") => need(true, Feature::HostNetwork, "network"),
        Some("none") => need(true, Feature::NoNetwork, "network"),
        Some(_) => need(true, Feature::Network, "network"),
    }
    need(spec.user.is_some(), Feature::User, "user");
    need(spec.cpus.is_some(), Feature::Cpus, "cpus");
    need(spec.memory.is_some(), Feature::Memory, "memory");
    need(spec.read_only == Some(true), Feature::ReadOnly, "read_only");
    need(spec.privileged == Some(true), Feature::Privileged, "privileged");
    need(!spec.devices.is_empty(), Feature::Devices, "devices");
    need(!spec.cap_add.is_empty(), Feature::CapAdd, "cap_add");
    needs.sort_unstable();
    needs.dedup();
    Ok(needs)
}

/// Refuses a spec that is impossible or needs what `features` lacks. Does no I/O, so plans can use it.
///
/// # Errors
/// `MC-A001` for an impossible spec, `MC-C006` naming each field that the driver cannot do.
pub fn check(driver: &str, features: &[Feature], spec: &Spec) -> Result<()> {
    spec.validate()?;
    let lacking: Vec<_> =
        needed(spec)?.into_iter().filter(|(feature, _)| !features.contains(feature)).collect();
    let Some((feature, field)) = lacking.first() else { return Ok(()) };
    let mut error = Error::new(
        Code::Unsupported,
        format!(
            "`{field}` of `{}` asks for what the {driver} driver does not have{}",
            spec.name,
            if feature.as_str() == *field { String::new() } else { format!(": {}", feature.as_str()) }
        ),
    )
    .hint(hint(*feature));
    error.details = lacking
        .iter()
        .skip(1)
        .map(|(feature, field)| format!("also `{field}`: {}", feature.as_str()))
        .collect();
    Err(error)
}

fn hint(feature: Feature) -> &'static str {
    match feature {
        Feature::Image => {
            "images need an engine such as podman or docker; `exec = { … }` runs a native program"
        }
        Feature::Exec => "native programs are run by the process driver; give an `image` here",
        Feature::PortMapping => {
            "a native program listens on the host itself: give the same number for `host` and `container`"
        }
        Feature::PortAddress => {
            "a native program chooses its own address: leave `address` out and tell the program"
        }
        Feature::Volumes | Feature::ReadOnlyVolumes | Feature::NamedVolumes => {
            "a native program sees the host's files: mount a path at its own place, `\"/srv/a:/srv/a\"`"
        }
        Feature::Memory | Feature::Cpus => {
            "limits need a writable cgroup; `mcrun doctor` says what is missing"
        }
        Feature::User => "only root can run a program as another user",
        _ => "leave the field out, or select another driver in `mcrun.toml`",
    }
}
