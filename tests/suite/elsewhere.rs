//! The same deploy with the proxy, the names and the certificates of others: only mcrun.toml says whose they are.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Output, Stdio};

use crate::harness::{PROGRAM, Place, program, until};
use crate::names::ask;
use crate::names::peers::{Kind, Server, port};
use crate::names::place::{ZONE, address};
use crate::other_authorities::{Peer, start};
use crate::pebble::Pebble;
use crate::traffic::backend;
use crate::traffic::place::Routed;

/// What the documentation shows.
const SCRIPT: &str = include_str!("../../scripts/demo/hello.lua");
const HOST: &str = "hello.mcrun.test";
const LISTEN: u16 = 8443;
const GREETING: &str = "Hello from elsewhere.";

/// Caddy as its packages start it: with an admin API, and nothing to serve.
struct Caddy {
    admin: SocketAddr,
    _peer: Peer,
}

impl Caddy {
    fn start(place: &Place) -> Self {
        let admin = port();
        let config = serde_json::json!({ "admin": { "listen": admin } });
        fs::write(place.at("caddy.json"), config.to_string()).unwrap();
        let mut caddy = program(Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers/bin/caddy"));
        caddy.args(["run", "--config", &place.at("caddy.json")]);
        for folder in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            caddy.env(folder, place.path());
        }
        Self { admin, _peer: start(&mut caddy, admin.port(), &place.at("caddy.log")) }
    }
}

/// Says at which address this node is found: `[node]` is what `configure` writes last.
fn stand_at(place: &Place, address: IpAddr) {
    let text = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), format!("{text}address = \"{address}\"\n")).unwrap();
}

/// The addresses that the server at `names` has for the service.
fn resolve(names: SocketAddr) -> Vec<IpAddr> {
    let answer = ask::udp(names, HOST, ask::A).expect("the server answers");
    answer.addresses().into_iter().map(IpAddr::V4).collect()
}

/// What a client gets that trusts `root` alone.
fn fetch(root: &str, at: IpAddr) -> Output {
    let mut curl = program("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--cacert", root]);
    curl.args(["--resolve", &format!("{HOST}:{LISTEN}:{at}")]);
    curl.arg(format!("https://{HOST}:{LISTEN}/")).output().unwrap()
}

/// Deploys, looks as a client does, and takes everything away again.
#[track_caller]
fn carry_out(
    place: &Place,
    names: SocketAddr,
    own: IpAddr,
    root: impl FnOnce() -> String,
    drivers: [&str; 2],
) {
    let script = place.script("hello.lua", SCRIPT);
    let settings = [
        format!("mcrun={PROGRAM}"),
        format!("hostname={HOST}"),
        format!("listen={LISTEN}"),
        format!("message={GREETING}"),
    ];
    let settings = settings.iter().flat_map(|setting| ["--set", setting.as_str()]);
    let words: Vec<&str> = [script.as_str(), "--allow", "*"].into_iter().chain(settings).collect();
    let seen = place.ends(0, &words);
    assert!(seen.stdout.contains(&format!("https://{HOST}:{LISTEN}/")), "{seen}");

    let [certs, routes] = drivers;
    assert_eq!(resolve(names), [own]);
    let root = root();
    let got = fetch(&root, own);
    assert!(String::from_utf8_lossy(&got.stdout).contains(GREETING), "{routes}: {got:?}");
    let listed = place.json(&["certs", "list", "--json"]);
    assert_eq!(listed[0]["driver"], certs, "{listed:#}");
    let again = place.ends(0, &words);
    assert!(again.stderr.contains("0 changed"), "{routes}: {again}");

    place.ends(0, &["undeploy", "hello", "--yes"]);
    assert_eq!(resolve(names), Vec::<IpAddr>::new());
    assert!(!fetch(&root, own).status.success(), "{routes}: nobody serves it any more");
    assert_eq!(place.json(&["certs", "list", "--json"]), serde_json::json!([]));
    assert_eq!(place.json(&["routes", "list", "--json"]), serde_json::json!([]));
    assert!(place.containers().is_empty());
    // The authority's questions left nothing behind either.
    let left = place.json(&["records", "list", ZONE, "--json"]);
    assert!(!left.to_string().contains("_acme-challenge"), "{left:#}");
}

#[test]
fn the_deploy_works_with_everything_that_is_built_in() {
    let routed = Routed::new();
    let names = address();
    let settings = format!(
        "[drivers]\ncontainers = \"process\"\n[dns]\nlisten = [\"{names}\"]\n[certs]\ndomains = [\"{ZONE}\"]\n"
    );
    routed.settle_for(&settings);
    stand_at(&routed, routed.at.ip());
    routed.ends(0, &["zones", "set", ZONE]);
    let _edge = routed.edge();
    until("the zone is answered", || {
        ask::udp(names, ZONE, ask::SOA).filter(|answer| answer.serial().is_some())
    });
    let root = || {
        let bundle = routed.ends(0, &["certs", "ca", "bundle"]).stdout;
        fs::write(routed.at("roots.pem"), bundle).unwrap();
        routed.at("roots.pem")
    };
    carry_out(&routed, names, routed.at.ip(), root, ["embedded", "embedded"]);
}

#[test]
fn the_same_deploy_works_with_caddy_bind_and_pebble() {
    let place = Place::new();
    let own = address().ip();
    let bind = Server::start(Kind::Bind, &[ZONE]);
    let caddy = Caddy::start(&place);
    let pebble = Pebble::start(&place, bind.at, port().port(), port().port());
    let drivers = "[drivers]\ncontainers = \"process\"\nroutes = \"caddy\"\ncerts = \"acme\"\n";
    place.configure(&format!(
        "[routes]\naddresses = [\"{own}\"]\n{}[drivers.caddy]\nadmin = \"{}\"\n{}",
        bind.settings(&place).replacen("[drivers]\n", drivers, 1),
        caddy.admin,
        pebble.settings("challenges = [\"dns-01\"]"),
    ));
    stand_at(&place, own);
    let root = || {
        let root = place.at("root.pem");
        pebble.write_root(Path::new(&root));
        root
    };
    carry_out(&place, bind.at, own, root, ["acme", "caddy"]);
}

/// The certificate that is shown for the service, in PEM.
fn shown(at: IpAddr) -> Option<String> {
    let mut client = program("openssl");
    client.args(["s_client", "-connect", &format!("{at}:{LISTEN}"), "-servername", HOST]);
    let said = client.stdin(Stdio::null()).output().unwrap().stdout;
    first_certificate(&String::from_utf8_lossy(&said))
}

fn first_certificate(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    rest.split_once("-----END CERTIFICATE-----").map(|(body, _)| body.trim().to_owned())
}

/// Caddy with a route that shows a certificate, which is returned.
fn shown_by_caddy(routed: &Routed, caddy: &Caddy) -> Option<String> {
    let backend = backend::start("one");
    routed.settle_for(&format!(
        "[drivers]\nroutes = \"caddy\"\n[drivers.caddy]\nadmin = \"{}\"\n",
        caddy.admin
    ));
    let script = format!(
        "certs.ensure {{ hostnames = {{ \"{HOST}\" }}, lifetime = \"1h\", files = {{ cert = \"cert.pem\", key = \"key.pem\" }} }}\n\
         routes.ensure {{ listen = {LISTEN}, hostname = \"{HOST}\", cert = \"{HOST}\", backends = {{ \"{backend}\" }} }}\n"
    );
    routed.ends(0, &[&routed.script("first.lua", &script), "--allow", "*"]);
    let first = shown(routed.at.ip());
    assert!(first.is_some());
    assert_eq!(first, first_certificate(&routed.read("scripts/cert.pem")));
    first
}

#[test]
fn a_certificate_that_is_renewed_by_hand_is_shown_by_caddy() {
    let routed = Routed::new();
    let caddy = Caddy::start(&routed);
    let first = shown_by_caddy(&routed, &caddy);
    routed.ends(0, &["certs", "renew", HOST, "--plan"]);
    assert_eq!(shown(routed.at.ip()), first, "a plan changes nothing");
    routed.ends(0, &["certs", "renew", HOST]);
    let second = shown(routed.at.ip());
    assert!(second.is_some() && second != first);
    assert_eq!(second, first_certificate(&routed.read("scripts/cert.pem")));
    drop(caddy);
    let seen = routed.run(&["certs", "renew", HOST]);
    assert_eq!(seen.code, Some(0), "without Caddy it is renewed all the same: {seen}");
}

#[test]
fn a_certificate_that_the_daemon_renews_is_shown_by_caddy() {
    const OVERDUE: i64 = 90 * 60_000;
    let routed = Routed::new();
    let own = routed.at.ip();
    let caddy = Caddy::start(&routed);
    let first = shown_by_caddy(&routed, &caddy);
    let daemon = routed.start_with(&["serve"], &[("MCRUN_CLOCK_SKEW", &OVERDUE.to_string())]);
    let next = until("another one is shown", || {
        assert!(!daemon.stderr().contains("error["), "{}", daemon.stderr());
        shown(own).filter(|shown| Some(shown) != first.as_ref())
    });
    assert_eq!(Some(next), first_certificate(&routed.read("scripts/cert.pem")));
}
