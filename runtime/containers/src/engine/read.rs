//! Owns the translation of what engines show into the live object and the defaults of images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use effect::Hidden;
use effect::units::{Size, Span};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::images;
use super::terms::SECRETS_DIR;
use crate::cgroup;
use crate::diff::normal;
use crate::images::Reference;
use crate::observed::{
    ImageDefaults, LABEL_HEALTH, LABEL_IMAGE, LABEL_MANAGED, LABEL_ORIGIN, LABEL_SECRET, LABEL_SERVICE,
    Observed, State,
};
use crate::spec::{
    DEFAULT_STOP_TIMEOUT, Health, Mount, Port, Protocol, Restart, Source, signal_name, signal_number,
};

/// Go writes absent lists and maps as null.
fn nullable<'de, D: serde::Deserializer<'de>, T: Default + DeserializeOwned>(
    value: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(value)?.unwrap_or_default())
}

/// What the engine calls something: it becomes part of later paths, so no more than letters and digits,
/// after the word for the kind of digest that images have.
pub(crate) fn identifier<'de, D: serde::Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    const LONGEST: usize = 128;
    let id = String::deserialize(value)?;
    if id.len() <= LONGEST && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b':') {
        return Ok(id);
    }
    Err(serde::de::Error::custom("an id of other characters than letters and digits, or too long a one"))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Inspected {
    #[serde(deserialize_with = "identifier")]
    id: String,
    name: String,
    path: String,
    #[serde(deserialize_with = "nullable")]
    args: Vec<String>,
    state: InspectedState,
    image: String,
    image_name: String,
    restart_count: u32,
    #[serde(deserialize_with = "nullable")]
    mounts: Vec<InspectedMount>,
    #[serde(deserialize_with = "nullable")]
    bounding_caps: Vec<String>,
    network_settings: NetworkSettings,
    config: Config,
    host_config: HostConfig,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedState {
    status: String,
    pid: u32,
    exit_code: i32,
    started_at: String,
    cgroup_path: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedMount {
    r#type: String,
    name: String,
    source: String,
    destination: String,
    #[serde(rename = "RW")]
    writable: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(deserialize_with = "nullable")]
    networks: BTreeMap<String, serde::de::IgnoredAny>,
    /// As they are while it runs: docker chooses a port anew at every start where none was asked for.
    #[serde(deserialize_with = "nullable")]
    ports: BTreeMap<String, Option<Vec<PortBinding>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    user: String,
    #[serde(deserialize_with = "nullable")]
    env: Vec<String>,
    working_dir: String,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
    /// Docker's name of the image.
    image: String,
    stop_signal: Option<Signal>,
    stop_timeout: Option<u64>,
}

/// podman gives the number, docker the word of the spec or the image.
#[derive(Deserialize)]
#[serde(untagged)]
enum Signal {
    Number(i32),
    Word(String),
}

impl Signal {
    fn name(&self) -> String {
        match self {
            Self::Number(number) => signal_name(*number),
            Self::Word(word) => signal_number(word).map_or_else(|| word.clone(), signal_name),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
    #[serde(deserialize_with = "nullable")]
    port_bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
    restart_policy: RestartPolicy,
    #[serde(deserialize_with = "nullable")]
    cap_add: Vec<String>,
    privileged: bool,
    readonly_rootfs: bool,
    memory: u64,
    nano_cpus: u64,
    cpu_quota: i64,
    cpu_period: u64,
    #[serde(deserialize_with = "nullable")]
    devices: Vec<Device>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct PortBinding {
    host_ip: String,
    host_port: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RestartPolicy {
    name: String,
    maximum_retry_count: u32,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Device {
    path_on_host: String,
    path_in_container: String,
}

impl Inspected {
    /// The exact status word of the engine.
    pub(crate) fn status(&self) -> &str {
        &self.state.status
    }

    /// A label of any kind.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.get(name).map(String::as_str)
    }

    /// podman keeps the digest and forgets the tag that came with it.
    fn named_image(&self) -> String {
        let shown = if self.image_name.is_empty() { &self.config.image } else { &self.image_name };
        let is_same = |name: &&str| {
            name.parse::<Reference>().is_ok_and(|named| named.untagged() == *shown || **name == **shown)
        };
        self.label(LABEL_IMAGE).filter(is_same).unwrap_or(shown).to_owned()
    }

    /// The live object, as the engine called `driver` shows it.
    pub(crate) fn observed(self, driver: &str) -> Observed {
        let state = state(&self.state.status);
        let is_up = matches!(state, State::Running | State::Paused);
        let argv = std::iter::once(self.path.clone()).chain(self.args.iter().cloned());
        let (memory, cpus) = self.limits(is_up);
        Observed {
            driver: driver.to_owned(),
            state,
            exit_code: (state == State::Exited).then_some(self.state.exit_code),
            pid: Some(self.state.pid).filter(|pid| *pid > 0),
            started_at: timestamp(&self.state.started_at),
            restarts: self.restart_count,
            managed: self.label(LABEL_MANAGED) == Some("1"),
            adopted: false,
            service: self.label(LABEL_SERVICE).map(str::to_owned),
            health: self.label(LABEL_HEALTH).and_then(|text| serde_json::from_str::<Health>(text).ok()),
            image: Some(self.named_image()),
            image_id: Some(self.image.clone()),
            native: false,
            argv: argv.filter(|word| !(word.is_empty() && self.path.is_empty())).collect(),
            env: variables(&self.config.env),
            secrets: self.secrets(),
            origins: self.origins(),
            volumes: self.volumes(),
            ports: self.ports(),
            network: self.network(),
            user: self.config.user.clone(),
            restart: self.restart(),
            cpus,
            memory,
            stop_signal: self.config.stop_signal.as_ref().map_or_else(|| "SIGTERM".to_owned(), Signal::name),
            stop_timeout: self.config.stop_timeout.map_or(DEFAULT_STOP_TIMEOUT, Span::seconds),
            read_only: self.host_config.readonly_rootfs,
            workdir: self.config.working_dir.clone(),
            privileged: self.host_config.privileged,
            devices: self.devices(),
            cap_add: normal::set(&self.host_config.cap_add, normal::capability),
            capabilities: normal::set(&self.bounding_caps, normal::capability),
            labels: own_labels_removed(self.config.labels),
            name: self.name.trim_start_matches('/').to_owned(),
            id: self.id,
        }
    }

    /// podman 4 changes a running container's limits without changing what `inspect` shows: the kernel knows.
    fn limits(&self, is_up: bool) -> (Option<Size>, Option<f64>) {
        let group = Some(self.state.cgroup_path.as_str()).filter(|group| is_up && !group.is_empty());
        let live = group.and_then(cgroup::limits);
        live.map_or_else(
            || {
                let host = &self.host_config;
                let memory = Some(Size(host.memory)).filter(|size| size.0 > 0);
                let cpus = match host.nano_cpus {
                    0 if host.cpu_quota > 0 => host.cpu_quota as f64 / host.cpu_period.max(1) as f64,
                    nanos => nanos as f64 / 1e9,
                };
                (memory, Some(cpus).filter(|cpus| *cpus > 0.0))
            },
            |live| (live.memory, live.cpus),
        )
    }

    /// A secret counts only while its file is in place: after a reboot the memory is empty.
    fn secrets(&self) -> BTreeMap<String, String> {
        let tags =
            self.config.labels.iter().filter_map(|(name, tag)| Some((name.strip_prefix(LABEL_SECRET)?, tag)));
        let in_place = tags.filter(|(name, _)| {
            let target = format!("{SECRETS_DIR}/{name}");
            self.mounts.iter().any(|mount| mount.destination == target && Path::new(&mount.source).exists())
        });
        in_place.map(|(name, tag)| (name.to_owned(), tag.clone())).collect()
    }

    fn origins(&self) -> BTreeMap<String, Hidden> {
        let labels = self.config.labels.iter();
        let origin = |(name, text): (&String, &String)| {
            Some((name.strip_prefix(LABEL_ORIGIN)?.to_owned(), serde_json::from_str(text).ok()?))
        };
        labels.filter_map(origin).collect()
    }

    fn volumes(&self) -> Vec<String> {
        let is_secret = |mount: &&InspectedMount| {
            mount
                .destination
                .strip_prefix(SECRETS_DIR)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|name| self.config.labels.contains_key(&format!("{LABEL_SECRET}{name}")))
        };
        let shown = self.mounts.iter().filter(|mount| !is_secret(mount)).map(|mount| {
            let source = match mount.r#type.as_str() {
                "volume" => Source::Volume(mount.name.clone()),
                _ => Source::Host(mount.source.clone()),
            };
            Mount { source, target: mount.destination.clone(), read_only: !mount.writable }.to_string()
        });
        let mut volumes: Vec<String> = shown.collect();
        volumes.sort();
        volumes
    }

    fn ports(&self) -> Vec<Port> {
        let mut ports: Vec<Port> = self
            .host_config
            .port_bindings
            .iter()
            .flat_map(|(inside, bindings)| {
                let (container, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
                let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
                bindings.iter().flatten().filter_map(move |binding| {
                    let address = Some(binding.host_ip.clone());
                    let address = address.filter(|text| !text.is_empty() && text != "0.0.0.0");
                    let host = self.host_port(inside, binding)?.parse().ok()?;
                    Some(Port { host, container: container.parse().ok()?, address, protocol })
                })
            })
            .collect();
        ports.sort();
        ports
    }

    /// The port that was asked for, or the one that was chosen in its place.
    fn host_port<'a>(&'a self, inside: &str, asked: &'a PortBinding) -> Option<&'a str> {
        if !matches!(asked.host_port.as_str(), "" | "0") {
            return Some(&asked.host_port);
        }
        let chosen = self.network_settings.ports.get(inside)?.as_ref()?;
        let is_same = |binding: &&PortBinding| asked.host_ip.is_empty() || binding.host_ip == asked.host_ip;
        chosen.iter().find(is_same).map(|binding| binding.host_port.as_str())
    }

    /// Networks of the engine are told by their list: it may have been taken off its own, or put on a further one.
    fn network(&self) -> String {
        let mode = self.host_config.network_mode.as_str();
        // podman gives every network the mode `bridge`, docker its name.
        let has_none = ["host", "none", "slirp4netns", "pasta"].contains(&mode) || mode.contains(':');
        if has_none {
            return mode.to_owned();
        }
        let networks = self.network_settings.networks.keys().map(|name| normal::network(name));
        let joined = networks.collect::<Vec<_>>().join(" and ");
        if joined.is_empty() { "none".to_owned() } else { joined }
    }

    fn restart(&self) -> Restart {
        let policy = &self.host_config.restart_policy;
        let max = Some(policy.maximum_retry_count).filter(|max| *max > 0);
        let known = policy.name.parse::<Restart>().unwrap_or_default();
        Restart { max, ..known }
    }

    fn devices(&self) -> Vec<String> {
        let devices: Vec<String> = self
            .host_config
            .devices
            .iter()
            .map(|device| format!("{}:{}", device.path_on_host, device.path_in_container))
            .collect();
        normal::set(&devices, normal::device)
    }
}

fn state(status: &str) -> State {
    match status {
        "created" | "configured" | "initialized" => State::Created,
        "running" => State::Running,
        "paused" => State::Paused,
        "restarting" => State::Restarting,
        "stopping" => State::Stopping,
        "exited" | "stopped" => State::Exited,
        _ => State::Broken,
    }
}

/// In UTC; Go writes the year 1 for "never".
fn timestamp(text: &str) -> Option<String> {
    let at: jiff::Timestamp = text.parse().ok()?;
    (at.as_second() > 0).then(|| at.to_string())
}

fn variables(list: &[String]) -> BTreeMap<String, String> {
    let pairs = list.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn own_labels_removed(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.retain(|name, _| !name.starts_with("mcrun."));
    labels
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct InspectedImage {
    id: String,
    #[serde(deserialize_with = "nullable")]
    repo_tags: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    repo_digests: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    config: ImageConfig,
    healthcheck: Option<Healthcheck>,
    graph_driver: GraphDriver,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct GraphDriver {
    name: String,
    #[serde(deserialize_with = "nullable")]
    data: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ImageConfig {
    #[serde(deserialize_with = "nullable")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    env: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "nullable")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    user: String,
    working_dir: String,
    stop_signal: String,
    healthcheck: Option<Healthcheck>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Healthcheck {
    #[serde(deserialize_with = "nullable")]
    test: Vec<String>,
}

/// What the config of an image says, which is the same document in registries and archives.
pub(crate) fn image_defaults(id: &str, config: &serde_json::Value) -> serde_json::Result<ImageDefaults> {
    let document = serde_json::json!({ "Id": id, "Config": config });
    serde_json::from_value::<InspectedImage>(document).map(InspectedImage::defaults)
}

impl InspectedImage {
    /// Where the engine keeps its list of images, as far as it can be told from this one.
    pub(crate) fn list(&self) -> Option<PathBuf> {
        let upper = self.graph_driver.data.get("UpperDir")?;
        images::list(&self.graph_driver.name, Path::new(upper))
    }

    pub(crate) fn defaults(self) -> ImageDefaults {
        let config = self.config;
        ImageDefaults {
            id: self.id,
            names: self.repo_tags,
            digests: self.repo_digests,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            env: variables(&config.env),
            labels: own_labels_removed(config.labels),
            user: config.user,
            workdir: config.working_dir,
            stop_signal: Some(config.stop_signal).filter(|signal| !signal.is_empty()),
            volumes: config.volumes.into_keys().collect(),
            exposed: config.exposed_ports.into_keys().collect(),
            health: self.healthcheck.or(config.healthcheck).and_then(Healthcheck::health),
        }
    }
}

impl Healthcheck {
    fn health(self) -> Option<Health> {
        let (kind, words) = self.test.split_first()?;
        let argv = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" => {
                ["/bin/sh", "-c"].into_iter().map(str::to_owned).chain(words.iter().cloned()).collect()
            }
            _ => return None,
        };
        Some(Health { exec: Some(argv), ..Health::default() })
    }
}
