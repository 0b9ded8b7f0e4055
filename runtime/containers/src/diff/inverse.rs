//! Owns the way back from the live object to a spec: the one that means exactly what was seen. Undo makes it again.

use std::collections::{BTreeMap, BTreeSet};

use effect::{Code, Error, Result};

use super::fields::DEFAULT_NETWORKS;
use super::normal;
use crate::observed::{ImageDefaults, Observed};
use crate::spec::Spec;

/// What engines give the variables that they add where nobody says otherwise.
const USUAL: [(&str, &[&str]); 3] = [
    (
        "PATH",
        &["/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "/usr/local/bin:/usr/bin:/bin"],
    ),
    ("TERM", &["xterm"]),
    ("container", &["podman", "docker", "oci"]),
];
/// How long the names are that engines give to volumes without one.
const ANONYMOUS: usize = 64;

impl Observed {
    /// The spec that makes this container again, from `image`: a reference to exactly the image that it ran, and what
    /// that says for omitted fields. Secrets are left to the caller, who alone can open where they came from.
    ///
    /// # Errors
    /// `MC-B001` where something about it cannot be said in a spec.
    pub fn spec(&self, image: Option<(&str, &ImageDefaults)>) -> Result<Spec> {
        let defaults = image.map(|(_, defaults)| defaults);
        let (entrypoint, cmd) = match (self.native, defaults) {
            (true, _) => (None, None),
            (false, defaults) => self.words(defaults),
        };
        let spec = Spec {
            name: self.name.clone(),
            image: image.map(|(reference, _)| reference.to_owned()),
            allow_latest: image.is_some(),
            exec: self.native.then(|| self.argv.clone()),
            entrypoint,
            cmd,
            env: self.own_env(defaults),
            volumes: self.own_volumes(defaults)?,
            ports: if self.network == "host" && !self.native { Vec::new() } else { self.ports.clone() },
            network: self.own_network(),
            user: differing(&self.user, defaults.map(|image| &image.user), normal::user),
            restart: Some(self.restart),
            labels: differences(&self.labels, defaults.map(|image| &image.labels)),
            cpus: self.cpus,
            memory: self.memory,
            health: self.health.clone(),
            stop_signal: Some(self.stop_signal.clone()),
            stop_timeout: Some(self.stop_timeout),
            read_only: self.read_only.then_some(true),
            workdir: differing(&self.workdir, defaults.map(|image| &image.workdir), normal::path),
            service: self.service.clone(),
            privileged: self.privileged.then_some(true),
            devices: if self.privileged { Vec::new() } else { self.devices.clone() },
            cap_add: if self.privileged { Vec::new() } else { self.cap_add.clone() },
            ..Spec::default()
        };
        spec.validate().map_err(|error| self.indescribable(&error.message))?;
        Ok(spec)
    }

    fn indescribable(&self, why: &str) -> Error {
        Error::new(Code::NotUndoable, format!("`{}` cannot be made again as it was", self.name)).because(why)
    }

    /// Entry point and arguments: omitted where they are the image's.
    fn words(&self, image: Option<&ImageDefaults>) -> (Option<Vec<String>>, Option<Vec<String>>) {
        let given = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
        let of_image = image.map_or(&[][..], |image| &image.entrypoint);
        match self.argv.strip_prefix(of_image) {
            Some(rest) if image.is_some_and(|image| image.cmd == rest) => (None, None),
            // Without arguments of its own it would get the image's.
            Some([]) => (given(&self.argv), None),
            Some(rest) => (None, given(rest)),
            None => {
                let (program, rest) = self.argv.split_at(self.argv.len().min(1));
                (given(program), given(rest))
            }
        }
    }

    /// The variables that are neither the image's nor the engine's nor those of secrets.
    fn own_env(&self, image: Option<&ImageDefaults>) -> BTreeMap<String, String> {
        let of_secrets: BTreeSet<String> =
            self.secrets.keys().chain(self.origins.keys()).map(|name| format!("{name}_FILE")).collect();
        let mut env = differences(&self.env, image.map(|image| &image.env));
        env.retain(|name, value| {
            let is_usual =
                USUAL.iter().any(|(usual, values)| name == usual && values.contains(&value.as_str()));
            let is_named = image.is_some_and(|image| image.env.contains_key(name));
            let is_added = !self.native && !is_named && (is_usual || self.is_own_name(name, value));
            !of_secrets.contains(name) && !is_added
        });
        env
    }

    /// The host name that the engine made up: from the id, or on the host's network the host's.
    fn is_own_name(&self, name: &str, value: &str) -> bool {
        let of_host = rustix::system::uname();
        name == "HOSTNAME"
            && (self.id.get(..12) == Some(value)
                || (self.network == "host" && of_host.nodename().to_str() == Ok(value)))
    }

    fn own_volumes(&self, image: Option<&ImageDefaults>) -> Result<Vec<String>> {
        let mut volumes = Vec::new();
        for text in &self.volumes {
            let (source, target) = text.split_once(':').unwrap_or((text, ""));
            let target = target.split(':').next().unwrap_or_default();
            let is_anonymous =
                source.len() == ANONYMOUS && source.bytes().all(|byte| byte.is_ascii_hexdigit());
            let of_image = image.is_some_and(|image| {
                image.volumes.iter().any(|path| normal::path(path) == normal::path(target))
            });
            if is_anonymous && !of_image {
                return Err(self.indescribable(&format!("its volume at `{target}` has no name")));
            }
            // The image's own volumes come by themselves.
            if !is_anonymous {
                volumes.push(text.clone());
            }
        }
        Ok(volumes)
    }

    fn own_network(&self) -> Option<String> {
        let network = normal::network(&self.network);
        // `bridge` is what was asked for where the engine's own default is another one.
        let is_default = network != "bridge" && DEFAULT_NETWORKS.contains(&network);
        // A native program is on the host's network without a word.
        let is_default = is_default || (self.native && network == "host");
        (!is_default).then(|| network.to_owned())
    }
}

/// What `live` has beyond `of_image`, or otherwise.
fn differences(
    live: &BTreeMap<String, String>,
    of_image: Option<&BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let mut own = live.clone();
    own.retain(|name, value| of_image.and_then(|image| image.get(name)) != Some(value));
    own
}

fn differing(live: &str, of_image: Option<&String>, normal: fn(&str) -> &str) -> Option<String> {
    let default = of_image.map_or("", String::as_str);
    (normal(live) != normal(default)).then(|| live.to_owned())
}
