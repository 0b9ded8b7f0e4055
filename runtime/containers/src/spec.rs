//! Owns [`Spec`]: what a script writes about one container. Reading, normal forms and validation live here;
//! comparing with the live object is [`crate::diff`]'s, performing it is a driver's.

mod parts;
mod probed;
mod validate;

use std::collections::BTreeMap;

use effect::units::{Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use parts::{Health, Mount, Port, Protocol, Restart, RestartPolicy, SecretMaterial, Secrets, Source};
pub(crate) use validate::is_name;
pub use validate::{signal_name, signal_number};

/// The time a container gets between its stop signal and SIGKILL unless the spec says otherwise.
pub const DEFAULT_STOP_TIMEOUT: Span = Span::seconds(10);

/// One container: an image under an engine, or a native program under a supervisor.
///
/// A field that is left out means what the image says, and otherwise the engine's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The name, unique on its node: letters, digits, `_`, `.` and `-`.
    pub name: String,
    /// The image to run, which is on the node: `images.ensure` brings it. A tag is taken for the digest that it means on
    /// the node; that is what runs and what is recorded. Exactly one of `image` and `exec` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Take an image with the tag `latest`, or no tag, all the same.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_latest: bool,
    /// A native program and its arguments, run without an image. The first word is an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// The arguments given to the image's entry point; left out, the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// The program started in the image; left out, the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Environment variables, in addition to the image's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Secrets: each becomes a file in memory whose path is in the variable `NAME_FILE`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, effect::Secret>,
    /// Mounts: `"/host:/container"`, `"volume:/container"`, with `:ro` for read-only ones. For a native program both
    /// paths are there already: no folder is made on the host for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Ports published on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// `"bridge"`, `"host"`, `"none"` or the name of a network; left out, the engine's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The user, as `"name"`, `"uid"` or `"uid:gid"`. A native program's is one of the host and takes the capability
    /// `containers:users`. In an image it takes none, also where it is not the image's own: it is a number inside the
    /// container, which reaches the host only through `volumes`, and these take `files`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When to start again after an exit: `"no"` (the default), `"on-failure"`, `"on-failure:5"`, `"always"` or
    /// `"unless-stopped"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Labels, in addition to the image's. Names beginning with `mcrun.` are reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How many processors' worth of time it may use: `0.5` is half of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// How much memory it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// How to tell that it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The signal that asks it to stop: `"SIGTERM"` unless the image says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// The time it gets to stop before it is killed: 10 seconds unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<Span>,
    /// Whether the root file system is read-only. A native program's is the host's with everything mounted in it, except
    /// `/dev`, `/proc` and what `volumes` mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// The directory the program starts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// The service it belongs to; its own name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Take over a container of this name that was not made by mcrun.
    #[serde(default, skip_serializing_if = "is_false")]
    pub adopt: bool,
    /// Run with all privileges of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// Devices of the host: `"/dev/fuse"` or `"/dev/host:/dev/container"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Kernel capabilities added to the engine's default set: `"NET_ADMIN"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// The node it runs on; the local one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl Spec {
    /// The service that the container belongs to.
    #[must_use]
    pub fn service_name(&self) -> &str {
        self.service.as_deref().unwrap_or(&self.name)
    }

    /// When to start again after an exit.
    #[must_use]
    pub fn restart_or_default(&self) -> Restart {
        self.restart.unwrap_or_default()
    }

    /// The mounts of `volumes`, in their normal form.
    ///
    /// # Errors
    /// `MC-A001` naming the entry that is not a mount.
    pub fn mounts(&self) -> effect::Result<Vec<Mount>> {
        self.volumes
            .iter()
            .enumerate()
            .map(|(index, text)| {
                text.parse::<Mount>().map_err(|problem| {
                    let field = format!("volumes[{}]", index + 1);
                    effect::Error::new(effect::Code::Argument, format!("{field}: {problem}"))
                })
            })
            .collect()
    }

    /// The published ports one by one: sorted, and `both` taken apart into its two protocols.
    #[must_use]
    pub fn published_ports(&self) -> Vec<Port> {
        let mut ports: Vec<Port> = self.ports.iter().flat_map(Port::expand).collect();
        ports.sort();
        ports.dedup();
        ports
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
