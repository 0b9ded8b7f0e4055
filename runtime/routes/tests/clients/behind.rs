//! Caddy as a back end: it takes PROXY headers, and shows certificates that it must show.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Program, command, peers, port};
use crate::stage::{HOST, Stage};
use crate::support::{Authority, until};

/// A Caddy that answers with the address that it takes for the client's.
struct Caddy {
    _program: Program,
    /// Takes a PROXY header first.
    told: SocketAddr,
    /// The same, then TLS.
    told_secure: SocketAddr,
    /// TLS, with a certificate for `inside.example.net`.
    secure: SocketAddr,
    authority: Authority,
    _folder: TempDir,
}

fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

fn server(address: SocketAddr, is_told: bool, is_secure: bool) -> Value {
    let told = json!({ "wrapper": "proxy_protocol", "allow": ["127.0.0.0/8"] });
    let wrappers = if is_told { vec![told, json!({ "wrapper": "tls" })] } else { Vec::new() };
    let body = "{http.request.remote.host} {http.request.proto} {http.request.header.X-Forwarded-For}";
    let mut server = json!({
        "listen": [address.to_string()],
        "listener_wrappers": wrappers,
        "automatic_https": { "disable": true },
        "protocols": ["h1", "h2", "h2c"],
        "routes": [{ "handle": [{ "handler": "static_response", "body": body }] }],
    });
    if is_secure {
        server["tls_connection_policies"] = json!([{}]);
    }
    server
}

impl Caddy {
    fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let path = |name: &str| folder.path().join(name);
        let names = ["inside.example.net".to_owned(), HOST.to_owned()];
        let shown = authority.issue_as(rcgen::CertificateParams::new(names).unwrap());
        std::fs::write(path("cert.pem"), pem("CERTIFICATE", &shown.chain[0])).unwrap();
        std::fs::write(path("key.pem"), pem("PRIVATE KEY", &shown.key)).unwrap();
        let (told, told_secure, secure) = (port(), port(), port());
        let config = json!({
            "admin": { "disabled": true },
            "apps": {
                "tls": { "certificates": { "load_files": [
                    { "certificate": path("cert.pem"), "key": path("key.pem") },
                ] } },
                "http": { "servers": {
                    "told": server(told, true, false),
                    "told_secure": server(told_secure, true, true),
                    "secure": server(secure, false, true),
                } },
            },
        });
        std::fs::write(path("caddy.json"), config.to_string()).unwrap();
        let mut program = command(peers().join("bin/caddy"));
        program.args(["run", "--config"]).arg(path("caddy.json")).env("HOME", folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let program = runtime.block_on(Program::start(&mut program, &path("log"), secure));
        for address in [told, told_secure] {
            until(|| std::net::TcpStream::connect(address).ok(), || "it does not listen".into());
        }
        Self { _program: program, told, told_secure, secure, authority, _folder: folder }
    }

    fn ca(&self) -> String {
        self.authority.issuer.pem()
    }
}

/// The address of the client as curl has it: it comes from another one of loopback than everybody else.
const CLIENT: &str = "127.0.0.77";

#[test]
fn a_back_end_learns_the_clients_address_by_either_version_of_the_proxy_protocol() {
    let (caddy, stage) = (Caddy::start(), Stage::new());
    for version in ["v1", "v2"] {
        let ask = |more: &[&str], url: &str| {
            stage
                .curl(&[&["--interface", CLIENT, "--cacert", &stage.path("both.pem")], more, &[url]].concat())
        };
        let both = stage.authority.issuer.pem() + &caddy.ca();
        std::fs::write(stage.file("both.pem"), both).unwrap();
        stage.secure(caddy.told, json!({ "send_proxy": version }));
        for client in ["--http1.1", "--http2"] {
            let seen = ask(&[client], &stage.url("https", "/"));
            assert_eq!(seen, format!("{CLIENT} HTTP/1.1 {CLIENT}"), "{version}, {client}");
        }
        stage.secure(caddy.told, json!({ "send_proxy": version, "protocol": "http2" }));
        let seen = ask(&["--http2"], &stage.url("https", "/"));
        assert_eq!(seen, format!("{CLIENT} HTTP/2.0 {CLIENT}"), "{version}");
        // What goes through as it is has TLS with the back end itself.
        let through =
            json!({ "mode": "l4", "backends": [caddy.told_secure.to_string()], "send_proxy": version });
        stage.running.put(HOST, through, None);
        let seen = ask(&["--http2"], &stage.url("https", "/"));
        assert_eq!(seen, format!("{CLIENT} HTTP/2.0 "), "{version}, through");
        let again = ask(&["--http1.1", "--tls-max", "1.2"], &stage.url("https", "/"));
        assert_eq!(again, format!("{CLIENT} HTTP/1.1 "), "{version}, through, TLS 1.2");
    }
}

#[test]
fn a_back_end_must_show_a_certificate_of_the_pinned_authority_for_its_name() {
    let (caddy, stage) = (Caddy::start(), Stage::new());
    let ask = || stage.curl(&["--write-out", " %{http_code}", &stage.url("https", "/")]);
    let tls = |ca: String, name: &str| json!({ "backend_tls": { "ca": ca, "name": name } });
    stage.secure(caddy.secure, tls(caddy.ca(), "inside.example.net"));
    assert_eq!(ask(), "127.0.0.1 HTTP/1.1 127.0.0.1 200");
    let mut by_http2 = tls(caddy.ca(), "inside.example.net");
    by_http2["protocol"] = json!("http2");
    stage.secure(caddy.secure, by_http2);
    assert_eq!(ask(), "127.0.0.1 HTTP/2.0 127.0.0.1 200");
    for wrong in [
        tls(Authority::new().issuer.pem(), "inside.example.net"),
        tls(caddy.ca(), "elsewhere.example.net"),
        json!({}),
    ] {
        stage.secure(caddy.secure, wrong.clone());
        let seen = ask();
        assert!(seen.ends_with(" 502") || seen.ends_with(" 400"), "{wrong}: {seen}");
        assert!(!seen.contains("HTTP/2.0"), "{wrong}: {seen}");
    }
    stage.secure(caddy.secure, tls(caddy.ca(), "inside.example.net"));
    assert_eq!(ask(), "127.0.0.1 HTTP/1.1 127.0.0.1 200", "and again as before");
}
