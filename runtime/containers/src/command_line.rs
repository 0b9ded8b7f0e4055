//! Owns what a spec is on a command line: the words with which an engine, or a shell, makes the same container without
//! mcrun. The counterpart of what the drivers tell engines through their sockets.

mod native;

use std::path::PathBuf;

use effect::{Code, Error, Result, Secret};

use crate::diff::normal;
use crate::engine::terms::{SECRETS_DIR, labels, stop_seconds};
use crate::observed::{LABEL_SECRET, LABEL_SPEC};
use crate::secrets::Store;
use crate::spec::{DEFAULT_STOP_TIMEOUT, Mount, Port, Secrets, Source, Spec};

pub use native::{Native, of_program};

/// Where the secrets of native programs are: mcrun keeps its own by state directory, and that may be gone. Also what is
/// said of a secret that was handed over without mcrun, in place of its hash.
const REALM: &str = "runbook";

/// An engine that is told by its command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// podman.
    Podman,
    /// docker.
    Docker,
}

impl Dialect {
    /// The program's name.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}

/// A file with a secret that has to be there before the container is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Where it is on the host, in memory.
    pub path: PathBuf,
    /// What is in it.
    pub secret: Secret,
}

/// What makes a container of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The engine and what it is to do, then one option after the other with its value, last the image with its words.
    pub parts: Vec<Vec<String>>,
    /// The files with secrets that it mounts.
    pub secrets: Vec<SecretFile>,
    /// Paths of the host that it mounts.
    pub paths: Vec<String>,
    /// The network that it takes, where that has to be made first.
    pub network: Option<String>,
}

/// The command line that makes the container of `spec`, which has an image.
///
/// # Errors
/// `MC-A001` for a spec that is none.
pub fn of_image(spec: &Spec, dialect: Dialect) -> Result<CommandLine> {
    check(spec)?;
    let image = spec.image.clone().unwrap_or_default();
    // An engine would take it for an option.
    if image.is_empty() || image.starts_with('-') {
        return Err(Error::new(Code::Argument, format!("image: `{image}` is not an image")));
    }
    let mounts = spec.mounts()?;
    // Where mcrun has them itself, so that it knows them and takes them away with the container.
    let secrets = secret_files(spec, dialect.program());
    let mut line = Line { dialect, parts: vec![words(&[dialect.program(), "run", "-d"])] };
    line.option("--name", &spec.name);
    line.option("--restart", &spec.restart_or_default().to_string());
    line.reach(spec);
    mounts.iter().for_each(|mount| line.option("-v", &mount.to_string()));
    for (name, file) in spec.secrets.keys().zip(&secrets) {
        line.option("-v", &format!("{}:{SECRETS_DIR}/{name}:ro", file.path.display()));
    }
    spec.env.iter().for_each(|(name, value)| line.option("-e", &format!("{name}={value}")));
    for name in spec.secrets.keys() {
        line.option("-e", &format!("{name}_FILE={SECRETS_DIR}/{name}"));
    }
    line.rights(spec);
    line.limits(spec);
    // By these mcrun knows it for its own when it is there again; the hash of the spec is a hint that it makes anew.
    for (name, value) in labels(spec, &Secrets::new(), "") {
        if name != LABEL_SPEC {
            line.option("-l", &format!("{name}={value}"));
        }
    }
    // It is a secret's place, and not known to be of the value that was recorded: that shows until the next deploy.
    for name in spec.secrets.keys() {
        line.option("-l", &format!("{LABEL_SECRET}{name}={REALM}"));
    }
    line.program(spec, image);
    Ok(CommandLine {
        parts: line.parts,
        secrets,
        paths: mounts.iter().filter_map(host_path).collect(),
        network: spec.network.clone().filter(|network| is_made(network)),
    })
}

/// What no command line can hold is refused before a part of it is written.
fn check(spec: &Spec) -> Result<()> {
    spec.validate()?;
    let text = serde_json::to_string(spec)
        .map_err(|error| Error::new(Code::Internal, "a spec cannot be encoded").because(error))?;
    if text.contains("\\u0000") {
        return Err(Error::new(Code::Argument, format!("the spec of `{}` has a NUL byte", spec.name)));
    }
    Ok(())
}

fn secret_files(spec: &Spec, realm: &str) -> Vec<SecretFile> {
    let store = Store::new(realm, &spec.name);
    spec.secrets
        .iter()
        .map(|(name, secret)| SecretFile { path: store.path(name), secret: secret.clone() })
        .collect()
}

/// Whether a network is one that somebody has made.
fn is_made(network: &str) -> bool {
    !matches!(normal::network(network), "bridge" | "host" | "none")
}

fn host_path(mount: &Mount) -> Option<String> {
    match &mount.source {
        Source::Host(path) => Some(path.clone()),
        Source::Volume(_) => None,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

struct Line {
    dialect: Dialect,
    parts: Vec<Vec<String>>,
}

impl Line {
    fn option(&mut self, name: &str, value: &str) {
        self.parts.push(words(&[name, value]));
    }

    fn flag(&mut self, flag: &str) {
        self.parts.push(words(&[flag]));
    }

    /// Ports and network.
    fn reach(&mut self, spec: &Spec) {
        // On the host's network nothing is published: the program listens there itself.
        if spec.network.as_deref() != Some("host") {
            spec.published_ports().iter().for_each(|port| self.option("-p", &published(port)));
        }
        if let Some(network) = &spec.network {
            self.option("--network", normal::network(network));
        }
    }

    /// Who it is inside, and what it may do there.
    fn rights(&mut self, spec: &Spec) {
        if self.dialect == Dialect::Podman {
            // Otherwise it adds the proxies of its own environment.
            self.flag("--http-proxy=false");
        }
        if let Some(user) = &spec.user {
            self.option("--user", user);
        }
        if let Some(workdir) = &spec.workdir {
            self.option("--workdir", workdir);
        }
        if spec.read_only == Some(true) {
            self.flag("--read-only");
            if self.dialect == Dialect::Podman {
                // Through its socket it mounts nothing that can be written to either.
                self.flag("--read-only-tmpfs=false");
            }
        }
        if spec.privileged == Some(true) {
            self.flag("--privileged");
        }
        spec.devices.iter().for_each(|device| self.option("--device", device));
        for capability in normal::set(&spec.cap_add, normal::capability) {
            self.option("--cap-add", &capability);
        }
    }

    fn limits(&mut self, spec: &Spec) {
        if let Some(cpus) = spec.cpus {
            self.option("--cpus", &cpus.to_string());
        }
        if let Some(memory) = spec.memory {
            self.option("--memory", &format!("{}b", memory.0));
            // Swap included, as the drivers say.
            self.option("--memory-swap", &format!("{}b", memory.0.saturating_mul(2)));
        }
        if let Some(signal) = &spec.stop_signal {
            self.option("--stop-signal", &normal::signal(signal));
        }
        let stop = spec.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT);
        self.option("--stop-timeout", &stop_seconds(stop.0).to_string());
    }

    /// Entry point, image and arguments.
    fn program(&mut self, spec: &Spec, image: String) {
        let mut last = vec![image];
        match (self.dialect, spec.entrypoint.as_deref()) {
            (_, None) => {}
            (_, Some([])) => self.option("--entrypoint", ""),
            (Dialect::Podman, Some(entrypoint)) => {
                self.option("--entrypoint", &serde_json::json!(entrypoint).to_string());
            }
            // It takes one word here; the others come before the arguments.
            (Dialect::Docker, Some([program, rest @ ..])) => {
                self.option("--entrypoint", program);
                last.extend(rest.iter().cloned());
            }
        }
        last.extend(spec.cmd.iter().flatten().cloned());
        self.parts.push(last);
    }
}

fn published(port: &Port) -> String {
    let address = match port.address.as_deref() {
        None | Some("") => String::new(),
        Some(address) if address.contains(':') => format!("[{address}]:"),
        Some(address) => format!("{address}:"),
    };
    format!("{address}{}:{}/{}", port.host, port.container, port.protocol.as_str())
}

#[cfg(test)]
mod tests;
