//! Owns pebble, an ACME authority, as tests of the whole program need it: it asks the name server that it is given, and
//! looks for proofs at the ports that it is given.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::harness::{Place, program};
use crate::names::peers::port;
use crate::other_authorities::{Peer, start};

/// A pebble that ends with the test.
pub(crate) struct Pebble {
    directory: SocketAddr,
    manages: SocketAddr,
    ca: String,
    _peer: Peer,
}

impl Pebble {
    /// One that looks for proofs at the ports `http` and `tls`.
    pub(crate) fn start(place: &Place, names: SocketAddr, http: u16, tls: u16) -> Self {
        let (directory, manages) = (port(), port());
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
        fs::write(place.at("pebble.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(place.at("pebble.key"), key.serialize_pem()).unwrap();
        let settings = serde_json::json!({ "pebble": {
            "listenAddress": directory.to_string(),
            "managementListenAddress": manages.to_string(),
            "certificate": place.at("pebble.pem"),
            "privateKey": place.at("pebble.key"),
            "httpPort": http,
            "tlsPort": tls,
        }});
        fs::write(place.at("pebble.json"), settings.to_string()).unwrap();
        let mut pebble = program("pebble");
        pebble.args(["-config", &place.at("pebble.json"), "-dnsserver", &names.to_string()]);
        pebble.envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "20")]);
        let peer = start(&mut pebble, directory.port(), &place.at("pebble.log"));
        Self { directory, manages, ca: place.at("pebble.pem"), _peer: peer }
    }

    /// `[drivers.acme]` for it, with `more`.
    pub(crate) fn settings(&self, more: &str) -> String {
        format!(
            "[drivers.acme]\ndirectory = \"https://{}/dir\"\nca = \"{}\"\nagree_tos = true\n{more}\n",
            self.directory, self.ca
        )
    }

    /// Writes the root of its certificates to a file.
    pub(crate) fn write_root(&self, file: &Path) {
        let mut curl = program("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert", &self.ca, "--output"]).arg(file);
        let done = curl.arg(format!("https://{}/roots/0", self.manages)).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// A name server that knows one address for every name.
pub(crate) fn names_at(place: &Place, address: IpAddr) -> (Peer, SocketAddr) {
    let (answers, manages) = (port(), port());
    let mut server = program("pebble-challtestsrv");
    server.args(["-defaultIPv4", &address.to_string(), "-defaultIPv6", ""]);
    server.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
    server.args(["-dns01", &answers.to_string(), "-management", &manages.to_string()]);
    (start(&mut server, manages.port(), &place.at("names.log")), answers)
}
