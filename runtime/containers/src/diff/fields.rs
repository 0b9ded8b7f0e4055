//! Owns the rule of each field: what an omitted one means, what counts as equal, and whether it replaces.

use std::collections::{BTreeMap, BTreeSet};

use effect::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::normal;
use super::{FieldDiff, SecretTags};
use crate::features::Feature;
use crate::observed::{ImageDefaults, Observed, State};
use crate::spec::{DEFAULT_STOP_TIMEOUT, Port, Spec};

/// Variables that engines add by themselves: they count only when spec or image name them.
const ADDED_BY_ENGINES: [&str; 5] = ["PATH", "TERM", "container", "HOSTNAME", "HOME"];
/// What engines report for a container that was given no network.
pub(super) const DEFAULT_NETWORKS: [&str; 5] = ["", "default", "bridge", "slirp4netns", "pasta"];

pub(super) struct Comparison<'a> {
    pub(super) spec: &'a Spec,
    pub(super) image: Option<&'a ImageDefaults>,
    pub(super) tags: &'a SecretTags,
    pub(super) features: &'a [Feature],
}

/// Collects differences; equal sides leave no trace.
struct Fields(Vec<FieldDiff>);

impl Fields {
    fn compare<T: PartialEq + Serialize>(&mut self, path: &str, replaces: bool, before: T, after: T) {
        if before != after {
            self.push(path, replaces, false, present(&before), present(&after));
        }
    }

    fn push(
        &mut self,
        path: &str,
        replaces: bool,
        secret: bool,
        before: Option<Value>,
        after: Option<Value>,
    ) {
        self.0.push(FieldDiff { path: path.to_owned(), before, after, replaces, secret });
    }

    fn compare_maps(
        &mut self,
        prefix: &str,
        replaces: bool,
        secret: bool,
        before: &BTreeMap<String, String>,
        after: &BTreeMap<String, String>,
    ) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            if old != new {
                let path = format!("{prefix}.{name}");
                self.push(&path, replaces, secret, old.map(|text| json!(text)), new.map(|text| json!(text)));
            }
        }
    }
}

/// Empty lists, empty texts and nulls show as absent.
fn present<T: Serialize>(value: &T) -> Option<Value> {
    let value = serde_json::to_value(value).unwrap_or(Value::Null);
    let is_empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    (!is_empty).then_some(value)
}

impl Comparison<'_> {
    /// Every field that the spec gives, for a container that does not exist yet.
    pub(super) fn created(&self) -> Vec<FieldDiff> {
        let mut fields = Fields(Vec::new());
        let nothing = BTreeMap::new();
        let spec = serde_json::to_value(self.spec).unwrap_or(Value::Null);
        for (name, value) in spec.as_object().into_iter().flatten() {
            match name.as_str() {
                "name" | "node" | "adopt" | "allow_latest" => {}
                "env" => fields.compare_maps("env", false, true, &nothing, &self.spec.env),
                "labels" => fields.compare_maps("labels", false, false, &nothing, &self.spec.labels),
                "secrets" => fields.compare_maps("secrets", false, true, &nothing, self.tags),
                _ => fields.push(name, false, false, None, Some(value.clone())),
            }
        }
        fields.0
    }

    /// Every field in which the live object differs.
    pub(super) fn changed(&self, observed: &Observed) -> Result<Vec<FieldDiff>> {
        let mut fields = Fields(Vec::new());
        self.compare_state(&mut fields, observed);
        self.compare_program(&mut fields, observed);
        self.compare_environment(&mut fields, observed);
        self.compare_mounts(&mut fields, observed)?;
        self.compare_network(&mut fields, observed);
        self.compare_privileges(&mut fields, observed);
        self.compare_limits(&mut fields, observed);
        self.compare_lifecycle(&mut fields, observed);
        Ok(fields.0)
    }

    fn replaces_unless(&self, feature: Feature) -> bool {
        !self.features.contains(&feature)
    }

    fn compare_state(&self, fields: &mut Fields, observed: &Observed) {
        if !observed.is_up() {
            let broken = observed.state == State::Broken;
            fields.compare("state", broken, observed.state.as_str(), State::Running.as_str());
        }
        fields.compare("managed", true, observed.managed, true);
        let replaces = self.replaces_unless(Feature::UpdateLabels);
        let service = observed.service.as_deref();
        fields.compare("service", replaces, service, Some(self.spec.service_name()));
    }

    fn compare_program(&self, fields: &mut Fields, observed: &Observed) {
        if let Some(argv) = &self.spec.exec {
            fields.compare("exec", true, &observed.argv, argv);
        } else {
            self.compare_image(fields, observed);
            self.compare_argv(fields, observed);
        }
    }

    fn compare_image(&self, fields: &mut Fields, observed: &Observed) {
        let wanted = self.spec.image.as_deref().unwrap_or_default();
        let live = observed.image.as_deref().unwrap_or_default();
        match self.image {
            // A tag that moved to another content is a change although its name is the same.
            Some(image) => {
                let live_id = normal::bare_id(observed.image_id.as_deref().unwrap_or_default());
                let wanted_id = normal::bare_id(&image.id);
                if live_id != wanted_id {
                    let before = json!({ "image": live, "id": normal::short_id(live_id) });
                    let after = json!({ "image": wanted, "id": normal::short_id(wanted_id) });
                    fields.push("image", true, false, Some(before), Some(after));
                }
            }
            None if !normal::same_reference(live, wanted) => {
                fields.compare("image", true, Some(live), Some(wanted));
            }
            None => {}
        }
    }

    /// Engines report one argument vector: only where it begins differently is it the entry point that changed.
    fn compare_argv(&self, fields: &mut Fields, observed: &Observed) {
        let is_known = self.image.is_some() || (self.spec.entrypoint.is_some() && self.spec.cmd.is_some());
        if !is_known {
            return;
        }
        let (entrypoint, cmd) = (self.entrypoint(), self.cmd());
        match observed.argv.strip_prefix(entrypoint) {
            Some(live) => fields.compare("cmd", true, live, cmd),
            None => {
                let live = observed.argv.strip_suffix(cmd).unwrap_or(&observed.argv);
                fields.compare("entrypoint", true, live, entrypoint);
            }
        }
    }

    pub(super) fn entrypoint(&self) -> &[String] {
        match (&self.spec.entrypoint, self.image) {
            (Some(entrypoint), _) => entrypoint,
            (None, Some(image)) => &image.entrypoint,
            (None, None) => &[],
        }
    }

    /// A new entry point drops the image's arguments, and an empty `cmd` means the image's, as in every engine.
    pub(super) fn cmd(&self) -> &[String] {
        let is_replaced = self.spec.entrypoint.as_ref().is_some_and(|entrypoint| !entrypoint.is_empty());
        match (self.spec.cmd.as_deref().filter(|cmd| !cmd.is_empty()), self.image) {
            (Some(cmd), _) => cmd,
            (None, Some(image)) if !is_replaced => &image.cmd,
            _ => &[],
        }
    }

    fn compare_environment(&self, fields: &mut Fields, observed: &Observed) {
        let mut wanted = self.image.map(|image| image.env.clone()).unwrap_or_default();
        wanted.extend(self.spec.env.clone());
        let secret_names = self.spec.secrets.keys().chain(observed.secrets.keys());
        let secret_variables: BTreeSet<String> = secret_names.map(|name| format!("{name}_FILE")).collect();
        let mut live = observed.env.clone();
        live.retain(|name, _| {
            let is_added = ADDED_BY_ENGINES.contains(&name.as_str()) || secret_variables.contains(name);
            wanted.contains_key(name) || !is_added
        });
        fields.compare_maps("env", true, true, &live, &wanted);
        fields.compare_maps("secrets", true, true, &observed.secrets, self.tags);

        let mut labels = self.image.map(|image| image.labels.clone()).unwrap_or_default();
        labels.extend(self.spec.labels.clone());
        let replaces = self.replaces_unless(Feature::UpdateLabels);
        fields.compare_maps("labels", replaces, false, &observed.labels, &labels);
    }

    fn compare_mounts(&self, fields: &mut Fields, observed: &Observed) -> Result<()> {
        let mounts = self.spec.mounts()?;
        let mut wanted: Vec<String> = mounts.iter().map(ToString::to_string).collect();
        wanted.sort();
        let mut live = observed.volumes.clone();
        // The image's own volumes become anonymous ones wherever the spec mounts nothing.
        live.retain(|text| {
            let target = text.split(':').nth(1).unwrap_or_default();
            let of_image = self.image.is_some_and(|image| image.volumes.iter().any(|path| path == target));
            !of_image || mounts.iter().any(|mount| mount.target == target)
        });
        fields.compare("volumes", true, live, wanted);
        Ok(())
    }

    fn compare_network(&self, fields: &mut Fields, observed: &Observed) {
        let live = normal::network(&observed.network);
        let wanted = self.spec.network.as_deref().map(normal::network);
        // On the host's network nothing is published: the program listens there itself.
        if observed.native || wanted != Some("host") || live != "host" {
            let texts = |ports: &[Port]| ports.iter().map(ToString::to_string).collect::<Vec<_>>();
            fields.compare("ports", true, texts(&observed.ports), texts(&self.spec.published_ports()));
        }
        match wanted {
            Some(network) => fields.compare("network", true, live, network),
            // A native program is on the host's network by nature; a container there was put there.
            None if observed.native && live == "host" => {}
            None if DEFAULT_NETWORKS.contains(&live) => {}
            None if self.spec.exec.is_some() => fields.compare("network", true, live, "host"),
            None => fields.compare("network", true, live, "bridge"),
        }
    }

    fn compare_privileges(&self, fields: &mut Fields, observed: &Observed) {
        let privileged = self.spec.privileged.unwrap_or(false);
        fields.compare("privileged", true, observed.privileged, privileged);
        // A privileged container has every device and capability; engines then list none.
        if !(privileged && observed.privileged) {
            let devices = normal::set(&self.spec.devices, normal::device);
            fields.compare("devices", true, &observed.devices, &devices);
            // One that the default set has anyhow is not listed as added: asking for it is no difference.
            let mut capabilities = normal::set(&self.spec.cap_add, normal::capability);
            capabilities
                .retain(|name| observed.cap_add.contains(name) || !observed.capabilities.contains(name));
            fields.compare("cap_add", true, &observed.cap_add, &capabilities);
        }
    }

    fn compare_limits(&self, fields: &mut Fields, observed: &Observed) {
        let keeps = |wanted: bool, change: Feature| {
            self.features.contains(&change) && (wanted || self.features.contains(&Feature::LiftLimits))
        };
        let replaces = !keeps(self.spec.memory.is_some(), Feature::UpdateMemory);
        fields.compare(
            "memory",
            replaces,
            observed.memory.map(normal::pages),
            self.spec.memory.map(normal::pages),
        );
        let replaces = !keeps(self.spec.cpus.is_some(), Feature::UpdateCpus);
        fields.compare("cpus", replaces, observed.cpus.map(normal::cpus), self.spec.cpus.map(normal::cpus));
        fields.compare("read_only", true, observed.read_only, self.spec.read_only.unwrap_or(false));
    }

    fn compare_lifecycle(&self, fields: &mut Fields, observed: &Observed) {
        // Without image and program nobody knows what an omitted user or directory means.
        let is_native = self.spec.exec.is_some();
        let default = |of_image: fn(&ImageDefaults) -> &str| match self.image {
            Some(image) => Some(of_image(image)),
            None => is_native.then_some(""),
        };
        if let Some(user) = self.spec.user.as_deref().or_else(|| default(|image| &image.user))
            && normal::user(&observed.user) != normal::user(user)
        {
            fields.compare("user", true, observed.user.as_str(), user);
        }
        if let Some(workdir) = self.spec.workdir.as_deref().or_else(|| default(|image| &image.workdir)) {
            fields.compare("workdir", true, normal::path(&observed.workdir), normal::path(workdir));
        }

        let replaces = self.replaces_unless(Feature::UpdateStop);
        let of_image = self.image.and_then(|image| image.stop_signal.as_deref());
        let signal = self.spec.stop_signal.as_deref().or(of_image).unwrap_or("SIGTERM");
        fields.compare(
            "stop_signal",
            replaces,
            normal::signal(&observed.stop_signal),
            normal::signal(signal),
        );
        let timeout = self.spec.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT);
        let seconds = normal::seconds(timeout);
        fields.compare("stop_timeout", replaces, normal::seconds(observed.stop_timeout), seconds);

        let replaces = self.replaces_unless(Feature::UpdateRestart);
        fields.compare("restart", replaces, observed.restart, self.spec.restart_or_default());
        let replaces = self.replaces_unless(Feature::UpdateLabels);
        fields.compare("health", replaces, &observed.health, &self.spec.health);
    }
}
