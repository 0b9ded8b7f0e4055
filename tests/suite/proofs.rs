//! Names are proven to an ACME authority at the ports of the proxy while it serves routes, and by a listener of the run
//! where no edge does.

use std::net::SocketAddr;

use serde_json::Value;

use crate::other_authorities::Peer;
use crate::pebble::{Pebble, names_at};
use crate::traffic::backend;
use crate::traffic::place::Routed;

const HTTP: u16 = 8080;
const TLS: u16 = 8443;
/// Where nobody asks: proofs that are found are the edge's.
const ASIDE: &str = "127.0.0.1:1";

/// An authority that finds every name at the address of `routed`.
struct Authority {
    pebble: Pebble,
    _names: Peer,
}

impl Authority {
    fn of(routed: &Routed) -> Self {
        let (names, at) = names_at(routed, routed.at.ip());
        Self { pebble: Pebble::start(routed, at, HTTP, TLS), _names: names }
    }

    /// Has the next runs order from it, names being proven by `challenge`.
    fn choose(&self, routed: &Routed, challenge: &str, http: &str, tls: &str) {
        self.choose_beside(routed, HTTP, challenge, http, tls);
    }

    /// The same, the edge's port for plain requests being `plain`.
    fn choose_beside(&self, routed: &Routed, plain: u16, challenge: &str, http: &str, tls: &str) {
        let more = format!("challenges = [\"{challenge}\"]\nhttp = \"{http}\"\ntls = \"{tls}\"");
        let acme = self.pebble.settings(&more);
        routed.settle_for(&format!("http = {plain}\n[drivers]\ncerts = \"acme\"\n{acme}"));
    }
}

/// A route with a certificate of the embedded authority, which makes the port the edge's.
fn serve_by_tls(routed: &Routed, backend: SocketAddr) {
    let script = format!(
        "certs.ensure {{ hostnames = {{ \"first.mcrun.test\" }} }}\n\
         routes.ensure {{ listen = {TLS}, hostname = \"first.mcrun.test\", cert = \"first.mcrun.test\", backends = {{ \"{backend}\" }} }}\n"
    );
    let script = routed.script("first.lua", &script);
    routed.ends(0, &[&script, "--allow", "*"]);
}

/// Orders a certificate, and checks that no proof is left behind.
#[track_caller]
fn obtains(routed: &Routed, name: &str) {
    let script = routed.script(
        "order.lua",
        &format!("certs.ensure {{ hostnames = {{ \"{name}\" }}, name = \"by-acme\" }}\n"),
    );
    routed.ends(0, &[&script, "--allow", "*"]);
    let listed = routed.json(&["certs", "list", "--json"]);
    let is_there = |certificate: &Value| {
        certificate["driver"] == "acme" && certificate["hostnames"] == serde_json::json!([name])
    };
    assert!(listed.as_array().unwrap().iter().any(is_there), "{listed:#}");
    let database = rusqlite::Connection::open(routed.database()).unwrap();
    let left: u32 = database
        .query_row("SELECT count(*) FROM records WHERE kind = 'route-challenge'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0, "proofs are taken back");
}

#[test]
fn http_01_is_answered_at_the_port_of_the_proxy() {
    let routed = Routed::new();
    let authority = Authority::of(&routed);
    authority.choose(&routed, "http-01", &format!("127.0.0.1:{HTTP}"), ASIDE);
    let _edge = routed.edge();
    obtains(&routed, "http.mcrun.test");
}

#[test]
fn tls_alpn_01_is_answered_at_a_port_with_certificates_while_it_serves() {
    let routed = Routed::new();
    let authority = Authority::of(&routed);
    let _edge = routed.edge();
    serve_by_tls(&routed, backend::start("one"));
    authority.choose(&routed, "tls-alpn-01", ASIDE, &format!("127.0.0.1:{TLS}"));
    obtains(&routed, "tls.mcrun.test");
    // Also of a name that it serves.
    obtains(&routed, "first.mcrun.test");
}

#[test]
fn without_an_edge_the_run_answers_itself() {
    let routed = Routed::new();
    let authority = Authority::of(&routed);
    authority.choose(&routed, "http-01", &routed.port(HTTP).to_string(), ASIDE);
    obtains(&routed, "http.mcrun.test");
    authority.choose(&routed, "tls-alpn-01", ASIDE, &routed.port(TLS).to_string());
    obtains(&routed, "tls.mcrun.test");
}

#[test]
fn a_port_at_which_the_edge_serves_nothing_is_left_to_the_run() {
    const OTHER: u16 = 8081;
    let routed = Routed::new();
    let authority = Authority::of(&routed);
    routed.settle_for(&format!("http = {OTHER}"));
    let _edge = routed.edge();
    authority.choose_beside(&routed, OTHER, "http-01", &routed.port(HTTP).to_string(), ASIDE);
    obtains(&routed, "http.mcrun.test");
    authority.choose_beside(&routed, OTHER, "tls-alpn-01", ASIDE, &routed.port(TLS).to_string());
    obtains(&routed, "tls.mcrun.test");
}
