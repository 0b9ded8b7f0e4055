//! Owns the translation of a spec into what libpod's `create` takes.

use effect::Result;
use serde_json::{Map, Value, json};

use crate::diff::normal;
use crate::engine::terms::{SECRETS_DIR, environment, labels, stop_seconds};
use crate::secrets::Store;
use crate::spec::{DEFAULT_STOP_TIMEOUT, Mount, Secrets, Source, Spec, signal_number};

const CPU_PERIOD: u64 = 100_000;

/// The body of `POST /containers/create`.
pub(super) fn body(spec: &Spec, secrets: &Secrets, store: &Store, hash: &str) -> Result<Value> {
    let mut body = Map::new();
    let mut set = |field: &str, value: Value| drop(body.insert(field.to_owned(), value));
    set("name", json!(spec.name));
    set("image", json!(spec.image));
    set("labels", json!(labels(spec, secrets, hash)));
    set("env", json!(environment(spec, secrets)));
    // Otherwise the engine adds the proxies of its own environment.
    set("httpproxy", json!(false));
    if let Some(cmd) = &spec.cmd {
        set("command", json!(cmd));
    }
    if let Some(entrypoint) = &spec.entrypoint {
        set("entrypoint", json!(entrypoint));
    }
    let mounts = spec.mounts()?;
    set("mounts", binds(&mounts, secrets, store));
    set("volumes", named_volumes(&mounts));
    set("portmappings", ports(spec));
    match spec.network.as_deref().map(normal::network) {
        None => {}
        Some(mode @ ("bridge" | "host" | "none")) => set("netns", json!({ "nsmode": mode })),
        Some(network) => {
            set("netns", json!({ "nsmode": "bridge" }));
            set("networks", json!({ network: {} }));
        }
    }
    if let Some(user) = &spec.user {
        set("user", json!(user));
    }
    let restart = spec.restart_or_default();
    set("restart_policy", json!(restart.policy.as_str()));
    if let Some(max) = restart.max {
        set("restart_tries", json!(max));
    }
    set("resource_limits", limits(spec, false));
    if let Some(number) = spec.stop_signal.as_deref().and_then(signal_number) {
        set("stop_signal", json!(number));
    }
    set("stop_timeout", json!(stop_seconds(spec.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT).0)));
    set("read_only_filesystem", json!(spec.read_only.unwrap_or(false)));
    if let Some(workdir) = &spec.workdir {
        set("work_dir", json!(workdir));
    }
    set("privileged", json!(spec.privileged.unwrap_or(false)));
    let devices: Vec<Value> = spec.devices.iter().map(|device| json!({ "path": device })).collect();
    set("devices", json!(devices));
    set("cap_add", json!(normal::set(&spec.cap_add, normal::capability)));
    Ok(Value::Object(body))
}

/// The limits as an OCI runtime takes them. `lift` writes absent ones down as "none" instead of leaving them out.
pub(super) fn limits(spec: &Spec, lift: bool) -> Value {
    let mut limits = Map::new();
    match spec.memory {
        // Swap included, as engines do by default: on its own the new limit could lie above the old one of both.
        Some(memory) => {
            limits.insert(
                "memory".to_owned(),
                json!({ "limit": memory.0, "swap": memory.0.saturating_mul(2) }),
            );
        }
        None if lift => {
            limits.insert("memory".to_owned(), json!({ "limit": -1, "swap": -1 }));
        }
        None => {}
    }
    match spec.cpus {
        Some(cpus) => {
            let quota = (cpus * CPU_PERIOD as f64).round() as u64;
            limits.insert("cpu".to_owned(), json!({ "quota": quota, "period": CPU_PERIOD }));
        }
        None if lift => {
            limits.insert("cpu".to_owned(), json!({ "quota": -1, "period": CPU_PERIOD }));
        }
        None => {}
    }
    Value::Object(limits)
}

fn binds(mounts: &[Mount], secrets: &Secrets, store: &Store) -> Value {
    let bind = |source: &str, target: &str, read_only: bool| {
        let mode = if read_only { "ro" } else { "rw" };
        json!({ "type": "bind", "source": source, "destination": target, "options": ["rbind", mode] })
    };
    let of_spec = mounts.iter().filter_map(|mount| match &mount.source {
        Source::Host(path) => Some(bind(path, &mount.target, mount.read_only)),
        Source::Volume(_) => None,
    });
    let of_secrets = secrets
        .keys()
        .map(|name| bind(&store.path(name).to_string_lossy(), &format!("{SECRETS_DIR}/{name}"), true));
    of_spec.chain(of_secrets).collect()
}

fn named_volumes(mounts: &[Mount]) -> Value {
    let volumes = mounts.iter().filter_map(|mount| match &mount.source {
        Source::Volume(name) => {
            let mode = if mount.read_only { "ro" } else { "rw" };
            Some(json!({ "Name": name, "Dest": mount.target, "Options": [mode] }))
        }
        Source::Host(_) => None,
    });
    volumes.collect()
}

fn ports(spec: &Spec) -> Value {
    // On the host's network nothing is published: the program listens there itself.
    if spec.network.as_deref() == Some("host") {
        return json!([]);
    }
    let ports = spec.published_ports();
    let mapped = ports.iter().map(|port| {
        json!({
            "host_port": port.host,
            "container_port": port.container,
            "host_ip": port.address.as_deref().unwrap_or_default(),
            "protocol": port.protocol.as_str(),
        })
    });
    mapped.collect()
}
