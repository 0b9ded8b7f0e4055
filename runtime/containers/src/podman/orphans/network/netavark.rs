//! Owns having netavark take back what it did for a container: its subcommand `teardown` reads what `setup` read when the
//! container was made, which is put together again from what is left of it.
//! See <https://github.com/containers/netavark> and `types.NetworkOptions` of containers/common.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::Store;
use super::{Outcome, cause, command, named_namespace, remove_namespace, tell};
use crate::engine::client::{Call, Client};
use crate::orphans::Orphan;
use crate::spec::Port;

const BACKEND: &str = "netavark";
/// Keeps the names of containers for networks that answer them.
const NAMES: &str = "aardvark-dns";
/// Where netavark keeps what it knows for root.
const RUNNING: &str = "/run/containers/networks";
/// Where podman looks for the programs that it calls: the defaults of `helper_binaries_dir` in containers.conf(5).
const HELPERS: [&str; 4] =
    ["/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"];
/// The files that say so otherwise; the last one that does counts.
const SETTINGS: [&str; 2] = ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"];
/// Letters of an id by which a container is known in its own file of hosts.
const SHORT: usize = 12;
/// What is read of a file that somebody else wrote.
const MOST: u64 = 1 << 20;

/// How the engine makes networks.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::podman::orphans) struct Backend {
    network_backend: String,
    network_backend_info: Program,
}

/// The program that does it, as newer engines tell it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Program {
    path: PathBuf,
}

/// What the runtime was told of the container's network.
#[derive(Debug)]
struct Had {
    namespace: PathBuf,
    /// In the order of its interfaces.
    addresses: Vec<IpAddr>,
}

/// A network, as the engine lists it.
#[derive(Debug, Deserialize)]
struct Network {
    name: String,
    #[serde(default)]
    subnets: Option<Vec<Value>>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Takes back what was done for an orphan; nothing where it had no network of its own, or a reboot took that away.
pub(super) async fn tear_down(
    client: &Client,
    store: &Store,
    orphan: &Orphan,
    ports: &[Port],
) -> Outcome<()> {
    if store.network.network_backend != BACKEND {
        return Ok(());
    }
    let Some(had) = had(&store.folder(&orphan.id), &orphan.id) else { return Ok(()) };
    if had.namespace.exists() {
        let networks = networks(client).await?;
        let given = given(orphan, ports, &had.addresses, &networks)?;
        if let Some(given) = given {
            run(&store.network.network_backend_info.path, &had.namespace, &given).await?;
        }
        remove_namespace(&had.namespace);
    }
    Ok(())
}

/// What is known of the network of a container by what its runtime was given.
fn had(folder: &Path, id: &str) -> Option<Had> {
    let config: Value = serde_json::from_str(&read(&folder.join("userdata/config.json"))?).ok()?;
    let namespaces = config["linux"]["namespaces"].as_array()?;
    let of_network = namespaces.iter().find(|namespace| namespace["type"] == "network")?;
    let namespace = named_namespace(of_network["path"].as_str()?)?;
    let mounts = config["mounts"].as_array()?;
    let of_hosts = mounts.iter().find(|mount| mount["destination"] == "/etc/hosts");
    let hosts = of_hosts.and_then(|mount| read(Path::new(mount["source"].as_str()?)));
    Some(Had { namespace, addresses: addresses(&hosts.unwrap_or_default(), id) })
}

fn read(path: &Path) -> Option<String> {
    let is_small = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MOST);
    is_small.then(|| fs::read_to_string(path).ok())?
}

/// The addresses by which a container knows itself.
fn addresses(hosts: &str, id: &str) -> Vec<IpAddr> {
    let short = id.get(..SHORT);
    let own = hosts.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| Some(name) == short).then_some(address)
    });
    own.collect()
}

async fn networks(client: &Client) -> Outcome<Vec<Network>> {
    let failed = |error: effect::Error| error.message;
    let answer = client.call(&Call::get("/networks/json")).await.map_err(failed)?;
    answer.accept("list networks", &[]).map_err(failed)?.parse().map_err(failed)
}

/// What netavark is given; nothing where the container had no address.
fn given(
    orphan: &Orphan,
    ports: &[Port],
    addresses: &[IpAddr],
    networks: &[Network],
) -> Outcome<Option<Value>> {
    let (mut joined, mut described) = (BTreeMap::<&str, Vec<String>>::new(), Map::new());
    for address in addresses {
        let network = networks.iter().find(|network| network.has(*address)).ok_or_else(|| {
            format!("none of podman's networks has its address {address}; `podman network ls` lists them")
        })?;
        joined.entry(&network.name).or_default().push(address.to_string());
        described.insert(network.name.clone(), network.described());
    }
    if joined.is_empty() {
        return Ok(None);
    }
    let networks: Map<String, Value> = joined
        .into_iter()
        .enumerate()
        .map(|(index, (name, addresses))| {
            let options = json!({ "interface_name": format!("eth{index}"), "static_ips": addresses });
            (name.to_owned(), options)
        })
        .collect();
    let mapped = ports.iter().flat_map(Port::expand).map(|port| {
        json!({
            "host_ip": port.address.as_deref().unwrap_or_default(), "host_port": port.host,
            "container_port": port.container, "protocol": port.protocol.as_str(), "range": 1,
        })
    });
    Ok(Some(json!({
        "container_id": orphan.id, "container_name": orphan.name,
        "port_mappings": mapped.collect::<Vec<_>>(), "networks": networks, "network_info": described,
    })))
}

impl Network {
    fn has(&self, address: IpAddr) -> bool {
        let mut subnets = self.subnets.iter().flatten().filter_map(|subnet| subnet["subnet"].as_str());
        subnets.any(|subnet| contains(subnet, address))
    }

    /// As it is kept in its file.
    fn described(&self) -> Value {
        let mut described = self.others.clone();
        // Who is in it is not of the network.
        described.remove("containers");
        described.insert("name".into(), self.name.clone().into());
        described.insert("subnets".into(), self.subnets.clone().into());
        described.into()
    }
}

/// Whether a subnet as it is written, `10.88.0.0/16`, has an address.
fn contains(subnet: &str, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let Some((network, length)) = subnet.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let ((network, width), (address, own_width)) = (bits(network), bits(address));
    let Some(rest) = 128_u32.checked_sub(length) else { return false };
    width == own_width && length <= width && (network ^ address).checked_shr(rest).unwrap_or(0) == 0
}

async fn run(known: &Path, namespace: &Path, given: &Value) -> Outcome<()> {
    let failed = |cause: String| format!("`{BACKEND}` failed: {cause}");
    let program = if known.is_file() { known.to_owned() } else { helper(BACKEND)? };
    let mut command = command(&program);
    command.arg("--config").arg(RUNNING).arg("--rootless=false");
    if let Some(names) = program.parent().map(|folder| folder.join(NAMES)).filter(|path| path.is_file()) {
        let mut option = OsString::from("--aardvark-binary=");
        option.push(names);
        command.arg(option);
    }
    command.arg("teardown").arg(namespace);
    let output = tell(command, given).await.map_err(failed)?;
    if output.status.success() { Ok(()) } else { Err(failed(cause(&output, "error"))) }
}

/// A program that podman calls, where the engine does not tell its path.
fn helper(name: &str) -> Outcome<PathBuf> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Settings {
        engine: OfEngine,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct OfEngine {
        helper_binaries_dir: Vec<PathBuf>,
    }
    let own = env::var_os("CONTAINERS_CONF").map(PathBuf::from);
    let files: Vec<PathBuf> = match own {
        // It stands for all others.
        Some(file) => vec![file],
        None => SETTINGS.iter().rev().map(PathBuf::from).collect(),
    };
    let said = files.iter().find_map(|file| {
        let settings: Settings = toml::from_str(&read(file)?).ok()?;
        Some(settings.engine.helper_binaries_dir).filter(|folders| !folders.is_empty())
    });
    let folders = said.unwrap_or_else(|| HELPERS.iter().map(PathBuf::from).collect());
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        format!("the program `{name}` is in none of {}", folders.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Protocol;

    fn id() -> String {
        "0123456789abcdef".repeat(4)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_subnet_has_what_begins_as_it_does() {
        for (subnet, inside, outside) in [
            ("10.88.0.0/16", "10.88.255.1", "10.89.0.1"),
            ("10.88.0.0/32", "10.88.0.0", "10.88.0.1"),
            ("0.0.0.0/0", "192.0.2.1", "::1"),
            ("fd00:1::/64", "fd00:1::7", "fd00:2::7"),
        ] {
            assert!(contains(subnet, address(inside)), "{subnet}");
            assert!(!contains(subnet, address(outside)), "{subnet}");
        }
        for wrong in ["10.88.0.0", "10.88.0.0/33", "10.88.0.0/129", "x/8", "10.0.0.0/-1"] {
            assert!(!contains(wrong, address("10.88.0.0")), "{wrong}");
        }
    }

    #[test]
    fn a_container_knows_itself_by_the_beginning_of_its_id() {
        let hosts = "127.0.0.1\tlocalhost\n10.88.0.1 host.containers.internal\n10.88.0.2 0123456789ab web\n\
                     fd00::2\t0123456789ab web\n10.88.0.3 ba9876543210 other\nnonsense 0123456789ab\n";
        assert_eq!(addresses(hosts, &id()), [address("10.88.0.2"), address("fd00::2")]);
        assert!(addresses(hosts, "short").is_empty());
    }

    #[test]
    fn what_is_given_is_what_was_given_when_the_container_was_made() {
        let networks: Vec<Network> = serde_json::from_value(json!([
            { "name": "podman", "id": "2f", "driver": "bridge", "network_interface": "podman0",
              "subnets": [{ "subnet": "10.88.0.0/16", "gateway": "10.88.0.1" }], "containers": {} },
            { "name": "none" },
        ]))
        .expect("networks");
        let orphan = Orphan { name: "web".into(), id: id(), processes: Vec::new(), volumes: Vec::new() };
        let port =
            Port { host: 80, container: 8080, address: Some("0.0.0.0".into()), protocol: Protocol::Both };
        let given = given(&orphan, &[port], &[address("10.88.0.2")], &networks).expect("all is known");
        let given = given.expect("it has an address");
        assert_eq!(given["networks"]["podman"]["static_ips"], json!(["10.88.0.2"]));
        assert_eq!(given["networks"]["podman"]["interface_name"], "eth0");
        let described = &given["network_info"]["podman"];
        assert_eq!(described["network_interface"], "podman0");
        assert_eq!(described["subnets"], json!([{ "subnet": "10.88.0.0/16", "gateway": "10.88.0.1" }]));
        assert_eq!(described["containers"], Value::Null);
        let protocols: Vec<&Value> =
            given["port_mappings"].as_array().expect("a list").iter().map(|port| &port["protocol"]).collect();
        assert_eq!(protocols, ["tcp", "udp"]);
        assert_eq!(given["port_mappings"][0]["host_ip"], "");
    }

    #[test]
    fn an_address_of_no_network_is_told() {
        let orphan = Orphan { name: "web".into(), id: id(), processes: Vec::new(), volumes: Vec::new() };
        let said = given(&orphan, &[], &[address("10.1.0.2")], &[]).expect_err("there is no network");
        assert!(said.contains("10.1.0.2"), "{said}");
        assert_eq!(given(&orphan, &[], &[], &[]), Ok(None));
    }
}
