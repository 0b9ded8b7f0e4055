//! Owns what an engine shows of a container that no spec can say: it goes with the container when that is replaced.
//! Values stay out of it: some are as sensitive as secrets.

use serde_json::Value;

/// How an option is told from one that was left alone.
enum Told {
    /// It has a value at all: not null, false, 0, or empty.
    Given(&'static str),
    /// It has another value than these.
    Unlike(&'static str, &'static [&'static str]),
    /// The command by which podman made it has this word.
    Word(&'static str),
    /// It has a value, and it is docker that shows it: that keeps no command.
    Kept(&'static str),
}

use Told::{Given, Kept, Unlike, Word};

/// Each option in the words of the engine's own command line.
const OPTIONS: &[(&str, &[Told])] = &[
    ("--rm", &[Given("/HostConfig/AutoRemove")]),
    ("--hostname", &[Word("--hostname"), Word("-h")]),
    ("--domainname", &[Given("/Config/Domainname")]),
    ("--tty", &[Given("/Config/Tty")]),
    ("--interactive", &[Given("/Config/OpenStdin")]),
    ("--health-cmd", &[Given("/Config/Healthcheck")]),
    ("--pod", &[Given("/Pod")]),
    ("--ip", &[Word("--ip"), Word("--ip6")]),
    ("--mac-address", &[Word("--mac-address"), Kept("/Config/MacAddress")]),
    ("--network-alias", &[Word("--network-alias")]),
    ("--cap-drop", &[Given("/HostConfig/CapDrop")]),
    ("--dns", &[Given("/HostConfig/Dns")]),
    ("--dns-option", &[Given("/HostConfig/DnsOptions")]),
    ("--dns-search", &[Given("/HostConfig/DnsSearch")]),
    ("--add-host", &[Given("/HostConfig/ExtraHosts")]),
    ("--group-add", &[Given("/HostConfig/GroupAdd")]),
    ("--link", &[Given("/HostConfig/Links")]),
    ("--tmpfs", &[Given("/HostConfig/Tmpfs")]),
    ("--security-opt", &[Given("/HostConfig/SecurityOpt")]),
    ("--pid", &[Unlike("/HostConfig/PidMode", &["", "private"])]),
    ("--ipc", &[Unlike("/HostConfig/IpcMode", &["", "private", "shareable"])]),
    ("--uts", &[Unlike("/HostConfig/UTSMode", &["", "private"])]),
    ("--userns", &[Unlike("/HostConfig/UsernsMode", &["", "host"])]),
    ("--cgroup-parent", &[Given("/HostConfig/CgroupParent")]),
    ("--cpu-shares", &[Given("/HostConfig/CpuShares")]),
    ("--cpuset-cpus", &[Given("/HostConfig/CpusetCpus")]),
    ("--memory-reservation", &[Given("/HostConfig/MemoryReservation")]),
    ("--pids-limit", &[Unlike("/HostConfig/PidsLimit", &["", "0", "-1", "2048"])]),
    ("--shm-size", &[Unlike("/HostConfig/ShmSize", &["", "0", "65536000", "67108864"])]),
    ("--oom-score-adj", &[Given("/HostConfig/OomScoreAdj")]),
    ("--init", &[Given("/HostConfig/Init"), Word("--init")]),
    ("--ulimit", &[Word("--ulimit"), Kept("/HostConfig/Ulimits")]),
    ("--volumes-from", &[Given("/HostConfig/VolumesFrom")]),
    ("--publish-all", &[Given("/HostConfig/PublishAllPorts")]),
    ("--log-driver", &[Word("--log-driver")]),
    ("--log-opt", &[Word("--log-opt")]),
    ("--sysctl", &[Given("/HostConfig/Sysctls"), Word("--sysctl")]),
    ("--annotation", &[Word("--annotation")]),
];

/// The options of a container, as the engine shows it, that no spec can say.
pub(super) fn unsaid(inspected: &Value) -> Vec<String> {
    let mut found: Vec<String> = OPTIONS
        .iter()
        .filter(|(_, ways)| ways.iter().any(|way| is_told(inspected, way)))
        .map(|(option, _)| (*option).to_owned())
        .collect();
    let is_fixed = |network: &Value| {
        let config = network.get("IPAMConfig");
        config.is_some_and(|config| {
            ["IPv4Address", "IPv6Address"].iter().any(|name| is_given(config.get(name)))
        })
    };
    let networks = inspected.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    // docker adds the beginning of the id.
    let id = inspected["Id"].as_str().unwrap_or_default();
    let is_alias = |alias: &Value| alias.as_str().is_some_and(|alias| !id.starts_with(alias));
    let has_alias =
        |network: &Value| network["Aliases"].as_array().is_some_and(|all| all.iter().any(is_alias));
    if is_dockers(inspected) && networks.is_some_and(|networks| networks.values().any(has_alias)) {
        found.push("--network-alias".to_owned());
    }
    if networks.is_some_and(|networks| networks.values().any(is_fixed))
        && !found.iter().any(|one| one == "--ip")
    {
        found.push("--ip".to_owned());
    }
    if is_named(inspected) && !found.iter().any(|one| one == "--hostname") {
        found.push("--hostname".to_owned());
    }
    if has_chosen_ports(inspected) {
        found.push("--publish without a host port".to_owned());
    }
    found
}

/// Whether docker was given a host name: otherwise it takes the beginning of the id, or the machine's own name.
fn is_named(inspected: &Value) -> bool {
    let text = |path| inspected.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (name, id) = (text("/Config/Hostname"), text("/Id"));
    is_dockers(inspected)
        && !name.is_empty()
        && !id.starts_with(name)
        && text("/HostConfig/NetworkMode") != "host"
}

/// Whether docker chooses a host port anew at every start.
fn has_chosen_ports(inspected: &Value) -> bool {
    let bindings = inspected.pointer("/HostConfig/PortBindings").and_then(Value::as_object);
    let mut each =
        bindings.into_iter().flat_map(|ports| ports.values()).filter_map(Value::as_array).flatten();
    each.any(|binding| matches!(binding["HostPort"].as_str(), Some("" | "0")))
}

/// Whether it is docker that shows it, which keeps no command.
fn is_dockers(inspected: &Value) -> bool {
    inspected.get("ImageName").is_none()
}

fn is_told(inspected: &Value, way: &Told) -> bool {
    match way {
        Given(path) => is_given(inspected.pointer(path)),
        Unlike(path, usual) => {
            let text = match inspected.pointer(path) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            !usual.contains(&text.as_str())
        }
        Kept(path) => is_dockers(inspected) && is_given(inspected.pointer(path)),
        Word(option) => options_of(inspected).any(|word| {
            word == *option || word.strip_prefix(option).is_some_and(|rest| rest.starts_with('='))
        }),
    }
}

fn is_given(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
    }
}

/// The words before the image: what follows it is the program's.
fn options_of(inspected: &Value) -> impl Iterator<Item = &str> {
    let image = ["/ImageName", "/Config/Image"].map(|path| inspected.pointer(path).and_then(Value::as_str));
    let words = inspected.pointer("/Config/CreateCommand").and_then(Value::as_array).into_iter().flatten();
    words
        .filter_map(Value::as_str)
        .take_while(move |word| !image.iter().flatten().any(|image| !image.is_empty() && image == word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_that_no_spec_can_say_are_told_by_their_names_alone() {
        let inspected = json!({
            "ImageName": "localhost/web:v1",
            "HostConfig": { "CapDrop": ["CAP_MKNOD"], "Dns": [], "Tmpfs": { "/run": "size=1m" }, "PidsLimit": 2048 },
            "Config": {
                "Tty": false,
                "CreateCommand": ["podman", "run", "--ip=10.88.0.9", "localhost/web:v1", "--init"],
            },
        });
        assert_eq!(unsaid(&inspected), ["--ip", "--cap-drop", "--tmpfs"]);
    }

    #[test]
    fn what_docker_keeps_is_told_without_a_command() {
        let inspected = |hostname: &str| {
            json!({
                "Id": "0123456789abcdef",
                "HostConfig": {
                    "NetworkMode": "default",
                    "Ulimits": [{ "Name": "nofile" }],
                    "PortBindings": { "80/tcp": [{ "HostIp": "", "HostPort": "" }], "81/tcp": null },
                },
                "Config": { "Hostname": hostname },
                "NetworkSettings": { "Networks": { "own": { "Aliases": ["0123456789ab", hostname] } } },
            })
        };
        assert_eq!(unsaid(&inspected("0123456789ab")), ["--ulimit", "--publish without a host port"]);
        assert_eq!(
            unsaid(&inspected("web")),
            ["--ulimit", "--network-alias", "--hostname", "--publish without a host port"]
        );
    }

    #[test]
    fn a_static_address_is_seen_without_the_command_as_well() {
        let networks = json!({ "own": { "IPAMConfig": { "IPv4Address": "10.1.0.4" } } });
        let inspected = json!({ "NetworkSettings": { "Networks": networks } });
        assert_eq!(unsaid(&inspected), ["--ip"]);
        assert_eq!(unsaid(&json!({})), Vec::<String>::new());
    }
}
