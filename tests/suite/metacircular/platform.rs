//! Owns a machine on which the platform of `scripts/metacircular` can be deployed, and what can be seen of it from outside.
//!
//! [`Platform::new`] has an engine of its own with stand-in images, an edge that serves routes and names, the inventory that
//! ships with addresses of this machine, and the folders of all volumes. Every port but three is the recorded one, at
//! loopback addresses that nobody else uses, so tests may run beside one another.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use super::engine::Engine;
use super::record::{At, CONTAINERS, Recorded};
use super::standin;
use crate::harness::{Place, Seen, Started};
use crate::names::place::address;
use crate::processes;

/// The node that runs everything.
pub(crate) const NODE: &str = "rift";
/// The zone of the names inside.
pub(crate) const ZONE: &str = "svc.mcp.metacircular.net";
/// The services with live data: what each writes is read by [`Platform::records`].
pub(crate) const WRITERS: [&str; 2] = ["mcq", "mcr-api"];

/// A machine for the platform.
pub(crate) struct Platform {
    // They end before the place goes that they lie in.
    pub(crate) engine: Engine,
    edge: Option<Started>,
    place: Place,
    lan: IpAddr,
    overlay: IpAddr,
    loopback: IpAddr,
    /// Where the edge serves routes; it answers names at port 5353 there.
    pub(crate) proxy: IpAddr,
}

impl Deref for Platform {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Platform {
    /// A machine on which nothing is deployed yet.
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let engine = Engine::new(&place.path().join("engine"));
        standin::build(&engine, &place.path().join("images"));
        let [lan, overlay, loopback, proxy] = std::array::from_fn(|_| address().ip());
        let mut platform = Self { engine, edge: None, place, lan, overlay, loopback, proxy };
        platform.write_configuration();
        platform.write_inventory();
        platform.make_volumes();
        for zone in [ZONE, "mcp.metacircular.net"] {
            platform.ends(0, &["zones", "set", zone]);
        }
        platform.start_edge();
        platform
    }

    /// Writes `mcrun.toml` anew.
    fn write_configuration(&self) {
        let text = format!(
            "[node]\nname = \"{NODE}\"\naddress = \"{}\"\n\
             [drivers]\ncontainers = \"podman\"\n[drivers.podman]\nsocket = \"{}\"\n\
             [routes]\naddresses = [\"{proxy}\"]\n[dns]\nlisten = [\"{}\"]\n\
             [certs]\ndomains = [\"{ZONE}\"]\npublic_domains = [\"metacircular.net\", \"wntrmute.dev\"]\n",
            self.overlay,
            self.engine.socket(),
            self.names(),
            proxy = self.proxy,
        );
        fs::write(self.config(), text).expect("the place is writable");
    }

    /// Writes the inventory: the one that ships, with the addresses and folders of this machine.
    fn write_inventory(&self) {
        let mut text = fs::read_to_string(scripts().join("inventory.toml")).expect("it ships");
        let ports = std::array::from_fn::<_, 2, _>(|_| free_port());
        for (shipped, ours) in [
            ("edge = \"svc\"", format!("edge = \"{NODE}\"")),
            ("srv = \"/srv\"", format!("srv = \"{}\"", self.at("srv"))),
            ("git = \"127.0.0.1:3000\"", format!("git = \"{}:3000\"", self.loopback)),
            ("lan = \"192.168.88.181\"", format!("lan = \"{}\"", self.lan)),
            ("overlay = \"100.95.252.120\"", format!("overlay = \"{}\"", self.overlay)),
            ("loopback = \"127.0.0.1\"", format!("loopback = \"{}\"", self.loopback)),
            ("port = 443", format!("port = {}", ports[0])),
            ("port = 9555", format!("port = {}", ports[1])),
        ] {
            assert!(text.contains(shipped), "the inventory that ships has no `{shipped}`");
            text = text.replacen(shipped, &ours, 1);
        }
        fs::write(self.inventory(), text).expect("the place is writable");
        for (folder, port) in ["mc-proxy", "mcp-master"].into_iter().zip(ports) {
            fs::create_dir_all(self.volume(folder)).expect("the place is writable");
            fs::write(self.volume(folder).join("ports"), format!("127.0.0.1:{port}\n"))
                .expect("the place is writable");
        }
    }

    fn make_volumes(&self) {
        for container in &CONTAINERS {
            fs::create_dir_all(self.volume(container.folder)).expect("the place is writable");
        }
    }

    /// The inventory, to be changed by a test that wants another one.
    pub(crate) fn inventory(&self) -> PathBuf {
        self.path().join("inventory.toml")
    }

    /// The folder of a volume on the host, `mcq` for `/srv/mcq`.
    pub(crate) fn volume(&self, folder: &str) -> PathBuf {
        self.path().join("srv").join(folder)
    }

    /// Where names are answered.
    pub(crate) fn names(&self) -> SocketAddr {
        SocketAddr::new(self.proxy, 5353)
    }

    /// An address of the node.
    pub(crate) fn ip(&self, at: At) -> IpAddr {
        match at {
            At::Lan => self.lan,
            At::Overlay => self.overlay,
            At::Loopback => self.loopback,
        }
    }

    /// Starts an edge, which serves routes and names, and waits until it answers.
    #[track_caller]
    pub(crate) fn start_edge(&mut self) {
        let started = self.start(&["edge", "-v"]);
        crate::harness::until("the edge answers", || {
            assert!(!started.stderr().contains("error["), "{}", started.stderr());
            started.stderr().contains("answers at").then_some(())
        });
        self.edge = Some(started);
    }

    /// The words after `mcrun` that run one of the platform's scripts, with everything granted.
    pub(crate) fn words(&self, script: &str) -> Vec<String> {
        let script = scripts().join(script).to_str().expect("a plain path").to_owned();
        let inventory = format!("inventory={}", self.inventory().display());
        [script, "--allow".into(), "*".into(), "--set".into(), inventory].into()
    }

    /// Runs one of the platform's scripts; it has to end with `code`.
    #[track_caller]
    pub(crate) fn run_script(&self, code: i32, script: &str) -> Seen {
        let words = self.words(script);
        self.ends(code, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Deploys everything.
    #[track_caller]
    pub(crate) fn deploy(&self) -> Seen {
        self.run_script(0, "deploy.lua")
    }

    /// Takes everything away but volumes.
    #[track_caller]
    pub(crate) fn undeploy(&self) -> Seen {
        self.run_script(0, "undeploy.lua")
    }

    /// What the engine says of a container.
    #[track_caller]
    pub(crate) fn inspected(&self, name: &str) -> Value {
        let shown = self.engine.podman(&["inspect", "--type", "container", name]);
        serde_json::from_str::<Value>(&shown).expect("podman shows JSON")[0].clone()
    }

    /// Where a recorded port is reached.
    pub(crate) fn published(&self, at: At, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(at), port)
    }

    /// Checks that every container runs as recorded, and that the engine has no other.
    #[track_caller]
    pub(crate) fn is_as_recorded(&self) {
        let names = self.engine.podman(&["ps", "--all", "--format", "{{.Names}}"]);
        let mut names: Vec<&str> = names.lines().collect();
        names.sort_unstable();
        let mut recorded = CONTAINERS.each_ref().map(|container| container.name);
        recorded.sort_unstable();
        assert_eq!(names, recorded);
        for container in &CONTAINERS {
            self.runs(container);
        }
    }

    /// Checks that one container runs as recorded.
    #[track_caller]
    pub(crate) fn runs(&self, recorded: &Recorded) {
        let shown = self.inspected(recorded.name);
        let name = recorded.name;
        assert_eq!(shown["State"]["Status"], "running", "{name}");
        let reference = standin::reference(recorded.image);
        let image = self.engine.podman(&["image", "inspect", "--format", "{{.Id}}", &reference]);
        assert_eq!(shown["Image"], image.as_str(), "{name}");
        assert_eq!(words(&shown["Config"]["Cmd"]), recorded.cmd, "{name}");
        assert_eq!(shown["Config"]["User"], recorded.user, "{name}");
        assert_eq!(shown["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped", "{name}");
        let network = if recorded.is_on_hosts_network { "host" } else { "bridge" };
        assert_eq!(shown["HostConfig"]["NetworkMode"], network, "{name}");
        let bind = format!("{}:/srv/{}:", self.volume(recorded.folder).display(), recorded.folder);
        let binds = words(&shown["HostConfig"]["Binds"]);
        assert!(matches!(&binds[..], [only] if only.starts_with(&bind)), "{name}: {binds:?}");
        let mut expected: Vec<String> = recorded
            .ports
            .iter()
            .map(|&(at, host, inside, protocol)| format!("{}->{inside}/{protocol}", self.published(at, host)))
            .collect();
        expected.sort();
        assert_eq!(bindings(&shown), expected, "{name}");
    }

    /// What a writer has written so far: the life that wrote each record, and its number in that life.
    pub(crate) fn records(&self, service: &str) -> Vec<(String, u64)> {
        let recorded = CONTAINERS.iter().find(|container| container.name == service).expect("a service");
        let text = fs::read_to_string(self.volume(recorded.folder).join("records")).unwrap_or_default();
        let record = |line: &str| {
            let (writer, number) = line.split_once(' ').unwrap_or_else(|| panic!("a torn record: {line}"));
            (writer.to_owned(), number.parse().unwrap_or_else(|_| panic!("a torn record: {line}")))
        };
        text.lines().map(record).collect()
    }

    /// Checks that no record of a writer is lost and that there never were two writers at a time, and returns how many lives
    /// it has had. Takes `before`, what was read earlier: it has to be there still.
    #[track_caller]
    pub(crate) fn is_continuous(&self, service: &str, before: &[(String, u64)]) -> usize {
        let records = self.records(service);
        assert!(records.starts_with(before), "{service}: records that were there are gone");
        let mut lives: Vec<&str> = Vec::new();
        let mut last = 0;
        for (writer, number) in &records {
            if lives.last() != Some(&writer.as_str()) {
                assert!(!lives.contains(&writer.as_str()), "{service}: {writer} writes beside {lives:?}");
                lives.push(writer);
                last = 0;
            }
            assert_eq!(*number, last + 1, "{service}: a record of {writer} is lost");
            last = *number;
        }
        lives.len()
    }

    /// Waits until a writer has written more than `before`.
    #[track_caller]
    pub(crate) fn writes_on(&self, service: &str, before: usize) {
        crate::harness::until("it writes on", || (self.records(service).len() > before).then_some(()));
    }
}

impl Drop for Platform {
    /// An edge that took over from ours is nobody's child: it is found by its arguments.
    fn drop(&mut self) {
        for edge in processes::with_word(self.state().to_str().expect("a plain name")) {
            processes::signal(edge, Signal::KILL);
        }
    }
}

/// The folder of the platform's scripts.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("scripts/metacircular")
}

fn words(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
}

/// `ADDRESS:PORT->INSIDE/PROTOCOL` of everything that a container publishes.
fn bindings(shown: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (inside, hosts) in shown["HostConfig"]["PortBindings"].as_object().into_iter().flatten() {
        for host in hosts.as_array().into_iter().flatten() {
            let text = |name: &str| host[name].as_str().unwrap_or_default();
            found.push(format!("{}:{}->{inside}", text("HostIp"), text("HostPort")));
        }
    }
    found.sort();
    found
}

/// A port of this machine that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
