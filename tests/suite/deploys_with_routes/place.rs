//! Owns a place where a service is deployed under its name, and what can be seen of it from outside.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use journal::{Journal, SystemClock};
use serde_json::Value;

use crate::harness::{PROGRAM, Seen, Started, visit};
use crate::names::{ask, place::ZONE};
use crate::traffic::load::sees;
use crate::traffic::place::{PORT, Routed};

pub(super) const HOST: &str = "hello.mcrun.test";

const SCRIPT: &str = r#"
local deploy = require("@std/deploy")
local broken = params.broken
local hello = deploy.service {
    name = "hello",
    version = params.version,
    exec = if broken then { "/bin/sleep", "600" } else { params.mcrun, "demo-server", params.version },
    replicas = params.replicas or 2,
    routes = {
        {
            hostname = "hello.mcrun.test", listen = params.listen, drain = params.drain,
            cert = if params.plain then false else nil,
        },
    },
    health = { http = "/v1/health", within = if broken then "300ms" else "20s", interval = "20ms" },
}
deploy.rollout(hello, { strategy = params.strategy })
"#;

/// A place with an edge, a zone and the script of a service.
pub(super) struct Served {
    // It ends before its place does.
    _edge: Started,
    script: String,
    routed: Routed,
    // It goes when nobody uses it any more.
    _disk: Option<Disk>,
}

/// A file system that is soon full, in the place of the state directory.
struct Disk(PathBuf);

impl Disk {
    fn mount(state: PathBuf) -> Self {
        std::fs::create_dir(&state).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        let mounted = rustix::mount::mount("mcrun-test", &state, "tmpfs", flags, Some(c"size=16m"));
        mounted.expect("this test mounts a small file system: run it as root");
        Self(state)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A failed test must not fail again here; the file system goes with its last user.
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
        // The folder of the test could not be taken away while this was in it.
        let _ = self.0.parent().map(std::fs::remove_dir_all);
    }
}

impl Deref for Served {
    type Target = Routed;

    fn deref(&self) -> &Routed {
        &self.routed
    }
}

impl Served {
    /// With the daemon.
    pub(super) fn by_daemon() -> Self {
        Self::by(Routed::serve, false)
    }

    /// With an edge alone.
    pub(super) fn by_edge() -> Self {
        Self::by(Routed::edge, false)
    }

    /// With an edge alone, and a state directory that has room for 16 MB.
    pub(super) fn by_edge_on_a_small_disk() -> Self {
        Self::by(Routed::edge, true)
    }

    fn by(start: impl FnOnce(&Routed) -> Started, is_small: bool) -> Self {
        let routed = Routed::new();
        let _disk = is_small.then(|| Disk::mount(routed.state()));
        let names = routed.port(5353);
        routed.settle_for(&format!("[drivers]\ncontainers = \"process\"\n[dns]\nlisten = [\"{names}\"]"));
        routed.ends(0, &["zones", "set", ZONE]);
        let script = routed.script("deploy.lua", SCRIPT);
        Self { _edge: start(&routed), script, routed, _disk }
    }

    /// What deploys a version.
    pub(super) fn words(&self, settings: &[&str]) -> Vec<String> {
        let more = [format!("mcrun={PROGRAM}"), format!("listen={PORT}")];
        let settings = settings.iter().copied().chain(more.iter().map(String::as_str));
        let settings = settings.flat_map(|setting| ["--set".to_owned(), setting.to_owned()]);
        [self.script.clone(), "--allow".into(), "*".into()].into_iter().chain(settings).collect()
    }

    /// Deploys a version.
    #[track_caller]
    pub(super) fn deploy(&self, code: i32, settings: &[&str]) -> Seen {
        let words = self.words(settings);
        self.ends(code, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Starts to deploy a version.
    pub(super) fn deploying(&self, settings: &[&str], variables: &[(&str, &str)]) -> Started {
        let words = self.words(settings);
        self.start_with(&words.iter().map(String::as_str).collect::<Vec<_>>(), variables)
    }

    /// Checks that whoever comes without TLS is answered by a version, and by no other.
    #[track_caller]
    pub(super) fn answers(&self, version: &str) {
        for _ in 0..8 {
            sees(self.at, HOST, version);
        }
        assert!(self.containers().iter().all(|container| container["argv"][2] == version));
    }

    fn list(&self, words: &[&str]) -> Vec<Value> {
        self.json(words).as_array().expect("a list").clone()
    }

    pub(super) fn routes(&self) -> Vec<Value> {
        self.list(&["routes", "list", "--json"])
    }

    pub(super) fn certificates(&self) -> Vec<Value> {
        self.list(&["certs", "list", "--json"])
    }

    /// The zone's records but for those of the zone itself.
    pub(super) fn records(&self) -> Vec<Value> {
        let mut records = self.list(&["records", "list", ZONE, "--json"]);
        records.retain(|record| record["name"] != "@");
        records
    }

    /// What our name server says of the host name.
    pub(super) fn resolved(&self) -> Vec<std::net::Ipv4Addr> {
        ask::udp(self.port(5353), HOST, ask::A).expect("the name server answers").addresses()
    }

    /// How many records of the journal there are of a kind.
    pub(super) fn count(&self, kind: &str) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let journal = Journal::open(&self.state(), Arc::new(SystemClock)).unwrap();
            journal.records(kind, None).await.unwrap().len()
        })
    }

    /// Visits over TLS, trusting our authority, for as long as the program with these words runs, or once.
    #[track_caller]
    pub(super) fn visited_while(&self, words: &[String]) -> String {
        let bundle = self.ends(0, &["certs", "ca", "bundle"]).stdout;
        std::fs::write(self.at("ca.pem"), bundle).unwrap();
        let (address, bundle) = (self.at.to_string(), self.at("ca.pem"));
        let visit = ["demo-visit", HOST, &address, &bundle];
        let words: Vec<&str> = visit.into_iter().chain(words.iter().map(String::as_str)).collect();
        self.ends(0, &words).stdout.trim().to_owned()
    }

    /// The answer over TLS.
    #[track_caller]
    pub(super) fn visited(&self) -> String {
        self.visited_while(&[])
    }

    /// Checks that nothing leads to a service any more, and nothing of it is left.
    #[track_caller]
    pub(super) fn has_nothing(&self) {
        assert_eq!(self.routes(), Vec::<Value>::new());
        assert_eq!(self.certificates(), Vec::<Value>::new());
        assert_eq!(self.records(), Vec::<Value>::new());
        assert_eq!(self.containers(), Vec::<Value>::new());
        assert_eq!(self.resolved(), Vec::<std::net::Ipv4Addr>::new());
        let left = ["route", "certificate", "certificate-order", "port", "service"];
        assert_eq!(left.map(|kind| self.count(kind)), [0; 5], "{left:?}");
    }

    /// The addresses of its back ends answer with a version themselves.
    #[track_caller]
    pub(super) fn leads_to(&self, version: &str) {
        for route in self.routes() {
            for backend in route["backends"].as_array().expect("a list") {
                let port = backend.as_str().and_then(|backend| backend.rsplit_once(':')?.1.parse().ok());
                assert_eq!(visit(port.expect("a port")).as_deref(), Some(version));
            }
        }
    }
}
