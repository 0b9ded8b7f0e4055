//! Owns taking back what plugins of CNI did for a container. They are called as their specification says, with the
//! configuration that was kept when the container was made: <https://www.cni.dev/docs/spec/>, version 0.4.0, section DEL.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Outcome, cause, command, named_namespace, remove_namespace, tell};

/// Where the results of earlier calls are kept.
const RESULTS: &str = "/var/lib/cni/results";
/// Where plugins lie, as podman looks for them.
const PLUGINS: [&str; 5] =
    ["/usr/local/libexec/cni", "/usr/libexec/cni", "/usr/local/lib/cni", "/usr/lib/cni", "/opt/cni/bin"];
/// What is kept of one call.
const MOST: u64 = 1 << 20;

/// What was kept of one call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    container_id: String,
    /// In base64.
    config: String,
    if_name: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    #[serde(default)]
    capability_args: Map<String, Value>,
    #[serde(default)]
    result: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Network {
    cni_version: String,
    name: String,
    plugins: Vec<Map<String, Value>>,
}

impl Kept {
    fn network(&self) -> Outcome<Network> {
        let text = STANDARD.decode(&self.config).map_err(|error| error.to_string())?;
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }

    /// The network namespace that the container had.
    fn namespace(&self) -> Option<PathBuf> {
        let interfaces = self.result["interfaces"].as_array()?;
        named_namespace(interfaces.iter().find_map(|interface| interface["sandbox"].as_str())?)
    }

    /// What a plugin reads.
    fn input(&self, network: &Network, plugin: &Map<String, Value>) -> Value {
        let mut input = plugin.clone();
        input.insert("cniVersion".into(), network.cni_version.clone().into());
        input.insert("name".into(), network.name.clone().into());
        input.insert("prevResult".into(), self.result.clone());
        let capabilities = plugin.get("capabilities").and_then(Value::as_object).into_iter().flatten();
        let wanted = capabilities.filter(|(_, is_wanted)| **is_wanted == json!(true));
        let given: Map<String, Value> = wanted
            .filter_map(|(name, _)| Some((name.clone(), self.capability_args.get(name)?.clone())))
            .collect();
        if !given.is_empty() {
            input.insert("runtimeConfig".into(), given.into());
        }
        input.into()
    }
}

/// Takes back what was done for the container `id`; nothing where nothing was kept.
pub(super) async fn tear_down(id: &str) -> Outcome<()> {
    for file in kept_files(id) {
        let Some(kept) = read(&file)?.filter(|kept| kept.container_id == id) else { continue };
        let network = kept.network().map_err(|error| format!("{}: {error}", file.display()))?;
        for plugin in network.plugins.iter().rev() {
            run(&kept, &network, plugin).await?;
        }
        if let Some(namespace) = kept.namespace() {
            remove_namespace(&namespace);
        }
        fs::remove_file(&file)
            .or_else(ignore_missing)
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

fn kept_files(id: &str) -> Vec<PathBuf> {
    let part = format!("-{id}-");
    let files = fs::read_dir(RESULTS).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_of = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(&part));
    files.filter(is_of).collect()
}

fn read(file: &Path) -> Outcome<Option<Kept>> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    match fs::metadata(file) {
        Ok(found) if found.len() <= MOST => {}
        Ok(_) => return Err(failed(&"it is too large")),
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    }
    let text = fs::read(file).map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| failed(&error))
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn program(name: &str) -> Outcome<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return Err(format!("`{name}` is no name of a network plugin"));
    }
    let candidates = PLUGINS.iter().map(|folder| Path::new(folder).join(name));
    let mut candidates = candidates.filter(|path| path.is_file());
    candidates
        .next()
        .ok_or_else(|| format!("the network plugin `{name}` is in none of {}", PLUGINS.join(", ")))
}

async fn run(kept: &Kept, network: &Network, plugin: &Map<String, Value>) -> Outcome<()> {
    let name = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
    let failed = |cause: String| format!("the network plugin `{name}` failed: {cause}");
    let arguments: Vec<String> =
        kept.cni_args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let namespace = kept.namespace().filter(|path| path.exists());
    let mut command = command(&program(name)?);
    command
        .env("CNI_COMMAND", "DEL")
        .env("CNI_CONTAINERID", &kept.container_id)
        .env("CNI_IFNAME", &kept.if_name)
        .env("CNI_NETNS", namespace.unwrap_or_default())
        .env("CNI_ARGS", arguments.join(";"))
        .env("CNI_PATH", PLUGINS.join(":"));
    let output = tell(command, &kept.input(network, plugin)).await.map_err(failed)?;
    if output.status.success() { Ok(()) } else { Err(failed(cause(&output, "msg"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let config = json!({ "cniVersion": "0.4.0", "name": "podman", "plugins": [
            { "type": "bridge" },
            { "type": "portmap", "capabilities": { "portMappings": true, "bandwidth": false } },
        ] });
        serde_json::from_value(json!({
            "containerId": "c1", "ifName": "eth0", "networkName": "podman",
            "config": STANDARD.encode(config.to_string()),
            "cniArgs": [["IgnoreUnknown", "1"]],
            "capabilityArgs": { "portMappings": [{ "hostPort": 80 }], "bandwidth": {} },
            "result": { "interfaces": [{ "name": "br" }, { "name": "eth0", "sandbox": "/run/netns/n-1" }] },
        }))
        .expect("it is as libcni keeps it")
    }

    #[test]
    fn a_plugin_gets_what_it_was_given_before() {
        let kept = kept();
        let network = kept.network().expect("it can be read");
        let input = kept.input(&network, &network.plugins[1]);
        assert_eq!(input["runtimeConfig"], json!({ "portMappings": [{ "hostPort": 80 }] }));
        assert_eq!((&input["name"], &input["cniVersion"]), (&json!("podman"), &json!("0.4.0")));
        assert_eq!(input["prevResult"], kept.result);
        assert_eq!(kept.input(&network, &network.plugins[0])["runtimeConfig"], Value::Null);
    }

    #[test]
    fn only_what_lies_among_namespaces_is_taken_for_one() {
        let mut kept = kept();
        assert_eq!(kept.namespace(), Some(PathBuf::from("/run/netns/n-1")));
        kept.result["interfaces"][1]["sandbox"] = json!("/run/netns/../../etc/passwd");
        assert_eq!(kept.namespace(), None);
        assert!(program("../sh").is_err());
    }
}
