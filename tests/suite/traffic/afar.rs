//! One mcrun drives another's proxy: a public edge serves a name of its own for a service that is elsewhere.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};

use serde_json::json;

use super::place::Routed;
use crate::harness::{Place, Seen, Started, program, until};

const PORT: u16 = 8443;
const PUBLIC: &str = "mcq.metacircular.net";
const INTERNAL: &str = "mcq.svc.mcp.metacircular.net";

const CONTAINERS: &str = "[drivers]\ncontainers = \"process\"\n";
const CERTS: &str = "[certs]\ndomains = [\"svc.mcp.metacircular.net\"]\n";

/// The node of the service and the edge, which trust each other's authority for their own calls only.
struct Two {
    rift: Place,
    svc: Routed,
    backend: SocketAddr,
    _serving: Started,
    _inner: Ended,
}

/// A program that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // One that has ended already is no worry.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Two {
    fn new() -> Self {
        let (rift, svc) = (Place::new(), Routed::new());
        rift.configure(&format!("{CONTAINERS}{CERTS}"));
        let prepare = rift.script(
            "prepare.lua",
            &format!(
                "certs.ensure {{ hostnames = {{ \"rift.mcrun.test\" }}, profile = \"client\" }}\n\
                 certs.ensure {{ hostnames = {{ \"{INTERNAL}\" }}, files = {{ cert = \"{}\", key = \"{}\" }} }}\n",
                rift.at("inner.pem"),
                rift.at("inner.key"),
            ),
        );
        rift.ends(0, &[&prepare, "--allow", "certs", "--allow", "files"]);
        bundle(&rift);
        let (backend, inner) = inner(&rift);
        let api = svc.port(9443);
        svc.settle_for(&format!(
            "[routes.api]\nlisten = \"{api}\"\nhost = \"edge.mcrun.test\"\nclient_ca = \"{}\"\n\
             domains = [\"metacircular.net\"]\ninternal = [\"svc.mcp.metacircular.net\"]\n\
             [routes.api.clients.\"rift.mcrun.test\"]\ndomains = [\"metacircular.net\"]\n\
             services = [\"mcq\"]\nbackends = [\"127.0.0.0/8\"]\n\
             {CERTS}public_domains = [\"metacircular.net\"]\n",
            rift.at("roots.pem")
        ));
        let serving = svc.serve();
        bundle(&svc);
        rift.configure(&format!(
            "{CONTAINERS}routes = \"remote\"\n{CERTS}\
             [drivers.remote]\naddress = \"{api}\"\nname = \"edge.mcrun.test\"\nca = \"{}\"\n\
             certificate = \"rift.mcrun.test\"\n",
            svc.at("roots.pem")
        ));
        Self { rift, svc, backend, _serving: serving, _inner: inner }
    }

    /// Has the service's node ask for a route.
    fn ensure(&self, hostname: &str, service: &str, code: i32) -> Seen {
        let script = format!(
            "local done = routes.ensure {{\n\
                 listen = {PORT}, hostname = \"{hostname}\", service = \"{service}\", cert = \"auto\", public = true,\n\
                 backends = {{ \"{}\" }}, backend_tls = {{ name = \"{INTERNAL}\", ca = [[\n{}]] }},\n\
             }}\nprint(done.changed)\n",
            self.backend,
            self.rift.read("roots.pem"),
        );
        let script = self.rift.script("deploy.lua", &script);
        self.rift.ends(code, &[&script, "--allow", "routes", "--allow", "routes:backends"])
    }

    /// What a client of everybody sees, which trusts the edge's authority alone.
    fn fetch(&self) -> (bool, String) {
        let there = self.svc.port(PORT);
        let mut curl = program("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--verbose"])
            .args(["--cacert", &self.svc.at("roots.pem")])
            .args(["--resolve", &format!("{PUBLIC}:{PORT}:{}", there.ip())])
            .arg(format!("https://{PUBLIC}:{PORT}/"));
        let done = curl.output().expect("curl starts");
        let told = [&done.stdout[..], &done.stderr[..]].concat();
        (done.status.success(), String::from_utf8_lossy(&told).into_owned())
    }
}

/// The roots of a place, as a file of it.
fn bundle(place: &Place) {
    let roots = place.ends(0, &["certs", "ca", "bundle"]).stdout;
    std::fs::write(place.at("roots.pem"), roots).expect("the place is writable");
}

/// The service itself, with its internal certificate.
fn inner(rift: &Place) -> (SocketAddr, Ended) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let mut server = program("openssl");
    server
        .args(["s_server", "-quiet", "-www", "-accept", &address.to_string()])
        .args(["-cert", &rift.at("inner.pem"), "-cert_chain", &rift.at("inner.pem")])
        .args(["-key", &rift.at("inner.key")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let server = Ended(server.spawn().expect("openssl starts"));
    until("the service listens", || TcpStream::connect(address).ok());
    (address, server)
}

#[test]
fn a_public_name_is_served_by_the_edge_for_a_service_elsewhere() {
    let two = Two::new();
    assert!(two.ensure(PUBLIC, "mcq", 0).stdout.contains("true"));
    let (fetched, told) = two.fetch();
    assert!(fetched && told.contains("s_server"), "{told}");
    assert!(two.ensure(PUBLIC, "mcq", 0).stdout.contains("false"), "the same again changes nothing");
    let shown = two.svc.json(&["certs", "show", &format!("auto.{PUBLIC}"), "--json"]);
    assert_eq!(shown["hostnames"], json!([PUBLIC]), "the edge shows the public name alone");
    let listed = two.rift.json(&["routes", "list", "--json"]);
    assert!(listed.to_string().contains("\"auto\"") && listed.to_string().contains(PUBLIC), "{listed}");
    let key = format!("{PUBLIC}:{PORT}");
    two.rift.ends(0, &["routes", "rm", &key, "--yes"]);
    assert!(!two.fetch().0, "nobody serves it any more");
}

#[test]
fn an_edge_refuses_what_its_rules_do_not_allow_and_goes_on() {
    let two = Two::new();
    two.ensure(PUBLIC, "mcq", 0);
    for (hostname, service) in [("evil.example", "mcq"), (INTERNAL, "mcq"), ("bank.metacircular.net", "bank")]
    {
        two.ensure(hostname, service, 1).says(&["MC-G010", hostname]);
    }
    assert!(two.fetch().0);
    let plan = two.rift.run(&["routes", "list", "--json"]);
    assert!(!plan.stdout.contains("evil") && !plan.stdout.contains("bank"), "{plan}");
}
