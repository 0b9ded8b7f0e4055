//! Owns the translation of a spec into what docker's `create` takes.

use effect::Result;
use serde_json::{Map, Value, json};

use crate::diff::normal;
use crate::engine::terms::{SECRETS_DIR, environment, labels, stop_seconds};
use crate::secrets::Store;
use crate::spec::{DEFAULT_STOP_TIMEOUT, Mount, Secrets, Source, Spec};

/// The body of `POST /containers/create`.
pub(super) fn body(spec: &Spec, secrets: &Secrets, store: &Store, hash: &str) -> Result<Value> {
    let variables = environment(spec, secrets);
    let variables: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let exposed: Map<String, Value> = bindings(spec).keys().map(|port| (port.clone(), json!({}))).collect();
    let mut body = Map::new();
    let mut set = |field: &str, value: Value| drop(body.insert(field.to_owned(), value));
    set("Image", json!(spec.image));
    set("Labels", json!(labels(spec, secrets, hash)));
    set("Env", json!(variables));
    set("ExposedPorts", Value::Object(exposed));
    set("StopTimeout", json!(stop_seconds(spec.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT).0)));
    set("HostConfig", host(spec, secrets, store)?);
    if let Some(cmd) = &spec.cmd {
        set("Cmd", json!(cmd));
    }
    if let Some(entrypoint) = &spec.entrypoint {
        set("Entrypoint", json!(entrypoint));
    }
    if let Some(user) = &spec.user {
        set("User", json!(user));
    }
    if let Some(workdir) = &spec.workdir {
        set("WorkingDir", json!(workdir));
    }
    if let Some(signal) = &spec.stop_signal {
        set("StopSignal", json!(normal::signal(signal)));
    }
    Ok(Value::Object(body))
}

fn host(spec: &Spec, secrets: &Secrets, store: &Store) -> Result<Value> {
    let mut host = limits(spec);
    let mut set = |field: &str, value: Value| drop(host.insert(field.to_owned(), value));
    set("Mounts", mounts(&spec.mounts()?, secrets, store));
    set("PortBindings", Value::Object(bindings(spec)));
    set("RestartPolicy", restart(spec));
    set("ReadonlyRootfs", json!(spec.read_only.unwrap_or(false)));
    set("Privileged", json!(spec.privileged.unwrap_or(false)));
    set("CapAdd", json!(normal::set(&spec.cap_add, normal::capability)));
    set("Devices", spec.devices.iter().map(|device| self::device(device)).collect());
    if let Some(network) = &spec.network {
        set("NetworkMode", json!(normal::network(network)));
    }
    Ok(Value::Object(host))
}

/// The limits that the spec gives; docker leaves absent ones as they are.
pub(super) fn limits(spec: &Spec) -> Map<String, Value> {
    let mut limits = Map::new();
    if let Some(memory) = spec.memory {
        limits.insert("Memory".to_owned(), json!(memory.0));
        // Swap included, as engines do by default: on its own the new limit could lie above the old one of both.
        limits.insert("MemorySwap".to_owned(), json!(memory.0.saturating_mul(2)));
    }
    if let Some(cpus) = spec.cpus {
        limits.insert("NanoCpus".to_owned(), json!((cpus * 1e9).round() as u64));
    }
    limits
}

pub(super) fn restart(spec: &Spec) -> Value {
    let restart = spec.restart_or_default();
    json!({ "Name": restart.policy.as_str(), "MaximumRetryCount": restart.max.unwrap_or_default() })
}

/// Unlike `Binds`, these fail where the host has no such path instead of making a folder.
fn mounts(mounts: &[Mount], secrets: &Secrets, store: &Store) -> Value {
    let mount = |kind: &str, source: &str, target: &str, read_only: bool| json!({ "Type": kind, "Source": source, "Target": target, "ReadOnly": read_only });
    let of_spec = mounts.iter().map(|wanted| match &wanted.source {
        Source::Host(path) => mount("bind", path, &wanted.target, wanted.read_only),
        Source::Volume(name) => mount("volume", name, &wanted.target, wanted.read_only),
    });
    let of_secrets = secrets.keys().map(|name| {
        mount("bind", &store.path(name).to_string_lossy(), &format!("{SECRETS_DIR}/{name}"), true)
    });
    of_spec.chain(of_secrets).collect()
}

fn bindings(spec: &Spec) -> Map<String, Value> {
    let mut bindings = Map::new();
    // On the host's network nothing is published: the program listens there itself.
    if spec.network.as_deref() == Some("host") {
        return bindings;
    }
    for port in spec.published_ports() {
        let inside = format!("{}/{}", port.container, port.protocol.as_str());
        let outside =
            json!({ "HostIp": port.address.unwrap_or_default(), "HostPort": port.host.to_string() });
        let list = bindings.entry(inside).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(outside);
        }
    }
    bindings
}

fn device(device: &str) -> Value {
    let (host, inside) = device.split_once(':').unwrap_or((device, device));
    json!({ "PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": "rwm" })
}
