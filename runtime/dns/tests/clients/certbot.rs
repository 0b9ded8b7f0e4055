//! certbot with its plug-in for RFC 2136: it proves names to pebble by records that it writes to this server, which pebble
//! then asks.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dns::RecordType;

use crate::bench::{SECRET, Server, run};
use crate::program::{Program, command, port, succeed};

/// Starting takes milliseconds where nobody else computes.
const PATIENCE: u32 = 1500;

/// An ACME authority that asks `names` about every name.
async fn pebble(folder: &Path, names: SocketAddr) -> (Program, SocketAddr) {
    let at = |name: &str| folder.join(name);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
    std::fs::write(at("tls.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(at("tls.key"), key.serialize_pem()).unwrap();
    let (directory, management) = (port(), port());
    let settings = serde_json::json!({ "pebble": {
        "listenAddress": directory.to_string(),
        "managementListenAddress": management.to_string(),
        "certificate": at("tls.pem"),
        "privateKey": at("tls.key"),
        "httpPort": 5002,
        "tlsPort": 5001,
        "ocspResponderURL": "",
    }});
    std::fs::write(at("pebble.json"), settings.to_string()).unwrap();
    let mut server = command("pebble");
    server.arg("-config").arg(at("pebble.json")).args(["-dnsserver", &names.to_string(), "-strict"]);
    server.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "5");
    let mut program = Program::start(&mut server, &at("pebble.log"));
    for _ in 0..PATIENCE {
        if tokio::net::TcpStream::connect(directory).await.is_ok() {
            return (program, directory);
        }
        program.check();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("pebble never listened: {}", program.log());
}

fn certbot(folder: &Path, directory: SocketAddr, names: SocketAddr, key: &str) -> Command {
    let credentials = folder.join("credentials.ini");
    let lines = [
        ("server", names.ip().to_string()),
        ("port", names.port().to_string()),
        ("name", key.to_owned()),
        ("secret", SECRET.to_owned()),
        ("algorithm", "HMAC-SHA256".to_owned()),
    ];
    let text: String = lines.iter().map(|(name, value)| format!("dns_rfc2136_{name} = {value}\n")).collect();
    std::fs::write(&credentials, text).unwrap();
    std::fs::set_permissions(&credentials, Permissions::from_mode(0o600)).unwrap();
    let mut client = command("certbot");
    client.args(["certonly", "--non-interactive", "--agree-tos", "--register-unsafely-without-email"]);
    client.args(["--server", &format!("https://{directory}/dir"), "--dns-rfc2136"]);
    client.arg("--dns-rfc2136-credentials").arg(credentials);
    client.args(["--dns-rfc2136-propagation-seconds", "1"]);
    for (option, place) in [("--config-dir", "config"), ("--work-dir", "work"), ("--logs-dir", "logs")] {
        client.arg(option).arg(folder.join(place));
    }
    client.env("REQUESTS_CA_BUNDLE", folder.join("tls.pem"));
    client
}

#[tokio::test]
async fn certbot_proves_names_and_a_wildcard_by_updates() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (authority, directory) = pebble(folder.path(), server.address).await;
    let mut client = certbot(folder.path(), directory, server.address, "challenge");
    for name in ["mcq", "mcr", "*.mcq"] {
        client.args(["-d", &format!("{name}.svc.mcp.metacircular.net")]);
    }
    run(client).await;
    let live = folder.path().join("config/live/mcq.svc.mcp.metacircular.net/cert.pem");
    let mut openssl = command("openssl");
    openssl.args(["x509", "-noout", "-ext", "subjectAltName", "-in"]).arg(live);
    let names = succeed(&mut openssl);
    for name in ["DNS:mcq.svc", "DNS:mcr.svc", "DNS:*.mcq.svc"] {
        assert!(names.contains(name), "{names}");
    }
    let log = authority.log();
    assert_eq!(log.matches("Issued certificate serial").count(), 1, "{log}");
    // Two values stood at one name for the wildcard and the name itself; afterwards nothing is left.
    for name in ["_acme-challenge.mcq", "_acme-challenge.mcr"] {
        assert!(server.texts(name, RecordType::TXT).await.is_empty());
    }
    assert_eq!(server.texts("mcq", RecordType::A).await, ["100.95.252.120"]);
}

#[tokio::test]
async fn certbot_learns_that_its_key_is_wrong() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (authority, directory) = pebble(folder.path(), server.address).await;
    let mut client = certbot(folder.path(), directory, server.address, "unknown");
    client.args(["-d", "mcq.svc.mcp.metacircular.net"]);
    let done = tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("didn't know the key"), "{said}");
    assert!(!authority.log().contains("Issued certificate serial"));
}
