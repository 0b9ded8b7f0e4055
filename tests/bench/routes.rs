//! Routes: processor time for a request and for a new connection beside nginx, HAProxy and Caddy, each pinned to the same
//! core in the same run; latency at half load, idle WebSockets, many routes, and how soon a change is live.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::routes::driver::Standing;
use ::routes::route::Route;
use journal::{Expect, Journal, SystemClock, Write as Change};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use tempfile::TempDir;

use crate::load::{Server, middle, port};
use crate::{Row, millis};

const HOST: &str = "bench.test";
/// How often the proxies take turns.
const TURNS: usize = 3;
const REQUESTS: usize = 40_000;
const CONNECTIONS: usize = 3000;
/// Clients while latency is looked at.
const CLIENTS: usize = 16;
const MANY: usize = 5000;
const SOCKETS: usize = 1000;
const SEEN: usize = 200;

/// A proxy before the same back end, with the same kind of certificate.
struct Proxy {
    name: &'static str,
    server: Server,
    address: SocketAddr,
}

impl Proxy {
    fn start(name: &'static str, program: &str, arguments: &[&str], address: SocketAddr) -> Self {
        let server = Server::start("0", program, arguments, || TcpStream::connect(address).is_ok());
        Self { name, server, address }
    }

    /// Has h2load send requests from the other core: microseconds of processor time for each.
    fn loaded(&self, requests: usize, more: &[&str]) -> f64 {
        let before = self.server.time();
        h2load(self.address, requests, more);
        (self.server.time() - before) * 1e6 / requests as f64
    }
}

fn h2load(address: SocketAddr, requests: usize, more: &[&str]) {
    let output = Command::new("taskset")
        .args(["-c", "1", "h2load", "-n", &requests.to_string(), &format!("--connect-to={address}")])
        .args(more)
        .arg(format!("https://{HOST}:{}/", address.port()))
        .output()
        .expect("h2load is not there");
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{requests} succeeded, 0 failed");
    assert!(text.contains(&all), "not every request succeeded: {text}");
}

/// The 99th of 100 latencies at so many requests a second of each client, in milliseconds.
fn latency(proxy: &Proxy, folder: &Path, each: usize) -> f64 {
    let log = folder.join("latencies");
    let _ = std::fs::remove_file(&log);
    let (rate, clients) = (format!("--rps={each}"), CLIENTS.to_string());
    let log_file = format!("--log-file={}", log.display());
    h2load(proxy.address, each * CLIENTS * 4, &["--h1", "-c", &clients, &rate, &log_file]);
    let text = std::fs::read_to_string(&log).unwrap();
    let mut times: Vec<u64> = text.lines().filter_map(|line| line.split('\t').nth(2)?.parse().ok()).collect();
    times.sort_unstable();
    times[times.len() * 99 / 100] as f64 / 1e3
}

struct Scene {
    folder: TempDir,
    own: Proxy,
    others: Vec<Proxy>,
    journal: Journal,
    roots: PathBuf,
    plain: SocketAddr,
    sockets: SocketAddr,
    _backend: Server,
    backend: SocketAddr,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn certificate(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec![HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.join("cert.pem"), made.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("both.pem"), made.pem() + &key.serialize_pem()).unwrap();
}

fn nginx(folder: &Path, name: &str, server: &str) -> PathBuf {
    let path = folder.join(format!("{name}.conf"));
    let config = format!(
        "daemon off;\nmaster_process off;\npid {0}/{name}.pid;\nerror_log /dev/null crit;\n\
         events {{ worker_connections 8192; }}\nhttp {{ access_log off; keepalive_requests 1000000;\n\
         client_body_temp_path {0}/{name}-a;\nproxy_temp_path {0}/{name}-b;\nfastcgi_temp_path {0}/{name}-c;\n\
         uwsgi_temp_path {0}/{name}-d;\nscgi_temp_path {0}/{name}-e;\n{server}\n}}\n",
        folder.display()
    );
    std::fs::write(&path, config).unwrap();
    path
}

fn others(folder: &Path, backend: SocketAddr) -> Vec<Proxy> {
    let [front_nginx, front_haproxy, front_caddy] = [port(), port(), port()];
    let config = nginx(
        folder,
        "front",
        &format!(
            "upstream back {{ server {backend}; keepalive 64; keepalive_requests 1000000; }}\n\
             server {{ listen {front_nginx} ssl http2; ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;\n\
             location / {{ proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}",
            folder.display()
        ),
    );
    let nginx = Proxy::start("nginx", "/usr/sbin/nginx", &["-c", text(&config)], front_nginx);
    let haproxy = folder.join("haproxy.cfg");
    let config = format!(
        "global\n  nbthread 1\n  maxconn 8192\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend front\n  bind {front_haproxy} ssl crt {}/both.pem alpn h2,http/1.1\n  default_backend back\n\
         backend back\n  http-reuse always\n  server one {backend}\n",
        folder.display()
    );
    std::fs::write(&haproxy, config).unwrap();
    let haproxy = Proxy::start("HAProxy", "/usr/sbin/haproxy", &["-db", "-f", text(&haproxy)], front_haproxy);
    let caddy = folder.join("caddy.json");
    let config = json!({
        "admin": { "disabled": true },
        "apps": {
            "tls": { "certificates": { "load_files": [
                { "certificate": folder.join("cert.pem"), "key": folder.join("key.pem") },
            ] } },
            "http": { "servers": { "front": {
                "listen": [front_caddy.to_string()],
                "automatic_https": { "disable": true },
                "tls_connection_policies": [{}],
                "routes": [{ "handle": [{ "handler": "reverse_proxy", "upstreams": [{ "dial": backend.to_string() }] }] }],
            } } },
        },
    });
    std::fs::write(&caddy, config.to_string()).unwrap();
    let program = caddy_program();
    let caddy = Proxy::start("Caddy", text(&program), &["run", "--config", text(&caddy)], front_caddy);
    vec![nginx, haproxy, caddy]
}

/// Where the tests install it.
fn caddy_program() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(&target).join("peers/bin/caddy")
}

fn run(program: &Path, folder: &Path, words: &[&str]) -> String {
    let output = Command::new(program)
        .args(words)
        .env("MCRUN_STATE", folder.join("state"))
        .env("MCRUN_CONFIG", folder.join("mcrun.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A server that agrees to every upgrade and says nothing more.
fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_head(&mut stream);
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            held.push(stream);
        }
    });
    address
}

fn read_head(stream: &mut impl Read) -> String {
    let (mut head, mut one) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut one).unwrap();
        head.push(one[0]);
    }
    String::from_utf8(head).unwrap()
}

fn scene(program: &Path) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    certificate(path);
    let backend = port();
    let server =
        format!("server {{ listen {backend}; location / {{ return 200 \"hello from the back end\\n\"; }} }}");
    let config = nginx(path, "back", &server);
    let is_there = || TcpStream::connect(backend).is_ok();
    let behind = Server::start("1", "/usr/sbin/nginx", &["-c", text(&config)], is_there);
    let (front, plain, sockets) = (port(), port(), silent());
    let config =
        "[node]\nname = \"rift\"\n[routes]\naddresses = [\"127.0.0.1\"]\n[policy]\nscripts = [\"*\"]\n";
    std::fs::write(path.join("mcrun.toml"), config).unwrap();
    let script = path.join("scripts/setup.lua");
    std::fs::create_dir(path.join("scripts")).unwrap();
    let made = format!("print(certs.ensure {{ hostnames = {{ \"{HOST}\", \"sockets.test\" }} }}.after.id)\n");
    std::fs::write(&script, made).unwrap();
    let id = run(program, path, &[text(&script)]).trim().to_owned();
    let state = path.join("state");
    let journal = Journal::open(&state, Arc::new(SystemClock)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let first =
            route(json!({ "listen": front.port(), "hostname": HOST, "backends": [backend], "cert": id }));
        let tunnel =
            json!({ "listen": front.port(), "hostname": "sockets.test", "backends": [sockets], "cert": id });
        let known = json!({ "listen": plain.port(), "hostname": HOST, "backends": [backend] });
        put(&journal, vec![first, route(tunnel), route(known)]).await;
    });
    let roots = path.join("roots.pem");
    std::fs::write(&roots, run(program, path, &["certs", "ca", "bundle"])).unwrap();
    let arguments =
        ["edge", "--state", text(&state), "--config", text(&path.join("mcrun.toml"))].map(String::from);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let own = Proxy::start("mcrun", text(program), &arguments, front);
    let others = others(path, backend);
    Scene { folder, own, others, journal, roots, plain, sockets: front, _backend: behind, backend }
}

fn route(value: serde_json::Value) -> Route {
    serde_json::from_value(value).unwrap()
}

async fn put(journal: &Journal, routes: Vec<Route>) {
    let writes = routes.into_iter().map(|route| Change {
        kind: "route".into(),
        node: "rift".into(),
        name: route.key().to_string(),
        value: Some(json!(Standing { route, paused: false }).to_string()),
        expect: Expect::Any,
    });
    journal.write(writes.collect()).await.unwrap();
}

/// What each takes, in turns.
fn compared(proxies: &[&Proxy], measure: impl Fn(&Proxy) -> f64) -> Vec<(&'static str, f64)> {
    let mut figures = vec![Vec::new(); proxies.len()];
    for _ in 0..TURNS {
        for (proxy, figures) in proxies.iter().copied().zip(&mut figures) {
            figures.push(measure(proxy));
        }
    }
    proxies.iter().zip(figures).map(|(proxy, figures)| (proxy.name, middle(figures))).collect()
}

fn row(
    what: &'static str,
    promise: &'static str,
    figures: &[(&'static str, f64)],
    unit: &str,
    ratio: &str,
) -> Row {
    let mut baseline = String::new();
    for (name, figure) in &figures[1..] {
        let comma = if baseline.is_empty() { "" } else { ", " };
        let _ = write!(baseline, "{comma}{name} {figure:.1}{unit}");
    }
    let (own, nginx) = (figures[0].1, figures[1].1);
    let compared = if ratio == "rate" { nginx / own } else { own / nginx };
    Row {
        what,
        measured: format!("{own:.1}{unit}"),
        baseline,
        ratio: format!("{compared:.2} × nginx"),
        promise,
    }
}

/// The rows of the table.
pub(crate) fn rows(program: &Path) -> Vec<Row> {
    let scene = scene(program);
    let path = scene.folder.path();
    let proxies: Vec<&Proxy> = std::iter::once(&scene.own).chain(&scene.others).collect();
    // Before all others, which leave memory that would be taken again.
    let idle = idle(&scene);
    let h1 = compared(&proxies, |proxy| proxy.loaded(REQUESTS, &["--h1", "-c", "16"]));
    let h2 = compared(&proxies, |proxy| proxy.loaded(REQUESTS, &["-c", "16", "-m", "10"]));
    let count = CONNECTIONS.to_string();
    let new = compared(&proxies, |proxy| proxy.loaded(CONNECTIONS, &["--h1", "-c", &count, "-r", "700"]));
    // Half of what the slower one of us and nginx can do on its core, for all of them. For Caddy that is too much.
    let each = (0.5e6 / h1[0].1.max(h1[1].1) / CLIENTS as f64) as usize;
    let half = compared(&proxies[..3], |proxy| latency(proxy, path, each.max(1)));
    let mut rows = vec![
        row(
            "a request over HTTP/1.1 and TLS, processor time",
            "≥ 0.7 × nginx, ahead of Caddy",
            &h1,
            " µs",
            "rate",
        ),
        row(
            "a request over HTTP/2 and TLS, processor time",
            "≥ 0.7 × nginx, ahead of Caddy",
            &h2,
            " µs",
            "rate",
        ),
        row("a new TLS connection with one request, processor time", "≥ 1.3 × nginx", &new, " µs", "rate"),
        row("99 % of answers at half load", "≤ 2 × nginx", &half, " ms", "time"),
    ];
    if let Some(half) = rows.last_mut() {
        let _ = write!(half.measured, " at {} a second", each * CLIENTS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rows.push(runtime.block_on(live(&scene)));
    rows.push(idle);
    rows.push(runtime.block_on(many(&scene, h1[0].1)));
    rows
}

/// How soon a route takes requests after its commit.
async fn live(scene: &Scene) -> Row {
    let mut stream = TcpStream::connect(scene.plain).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut waits = Vec::new();
    for number in 0..SEEN {
        let host = format!("new{number}.test");
        let new = json!({ "listen": scene.plain.port(), "hostname": host, "backends": [scene.backend] });
        let question = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        put(&scene.journal, vec![route(new)]).await;
        let begin = Instant::now();
        while !is_answered(&mut stream, &question) {}
        waits.push(begin.elapsed());
    }
    waits.sort();
    Row {
        what: "from the commit of a route to the first request that it takes",
        measured: format!("{}, 99 % within {}", millis(waits[SEEN / 2]), millis(waits[SEEN * 99 / 100])),
        baseline: "–".into(),
        ratio: "–".into(),
        promise: "≤ 5 ms",
    }
}

fn is_answered(stream: &mut TcpStream, question: &str) -> bool {
    stream.write_all(question.as_bytes()).unwrap();
    let head = read_head(stream).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    head.starts_with("http/1.1 200")
}

/// What idle WebSockets take.
fn idle(scene: &Scene) -> Row {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(&scene.roots).unwrap();
    use rustls::pki_types::pem::PemObject as _;
    for root in rustls::pki_types::CertificateDer::pem_slice_iter(&pem) {
        roots.add(root.unwrap()).unwrap();
    }
    let config = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("sockets.test").unwrap();
    let before = scene.own.server.memory();
    let mut held = Vec::new();
    for _ in 0..SOCKETS {
        let connection = ClientConnection::new(config.clone(), name.clone()).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(scene.sockets).unwrap());
        let question = "GET / HTTP/1.1\r\nhost: sockets.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(question.as_bytes()).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101"));
        held.push(stream);
    }
    let all = scene.own.server.memory();
    for stream in &mut held {
        stream.sock.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    }
    let is_open = |stream: &mut StreamOwned<ClientConnection, TcpStream>| {
        let error = stream.read(&mut [0]).unwrap_err();
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    };
    assert!(held.iter_mut().all(is_open), "a tunnel was closed");
    Row {
        what: "1,000 idle WebSockets over TLS",
        measured: format!("{:.1} MB, the edge included", all as f64 / 1e6),
        baseline: format!("without them {:.1} MB", before as f64 / 1e6),
        ratio: format!("{:.1} KB each", all.saturating_sub(before) as f64 / 1e3 / SOCKETS as f64),
        promise: "≤ 40 MB",
    }
}

/// What a request costs beside many other routes.
async fn many(scene: &Scene, few: f64) -> Row {
    let routes = (0..MANY).map(|number| {
        let host = format!("host{number}.many.test");
        route(json!({ "listen": scene.own.address.port(), "hostname": host, "backends": [scene.backend], "redirect": { "to": "https://bench.test/" } }))
    });
    put(&scene.journal, routes.collect()).await;
    let last = format!("GET / HTTP/1.1\r\nhost: new{SEEN}.test\r\n\r\n");
    let marker = json!({ "listen": scene.plain.port(), "hostname": format!("new{SEEN}.test"), "backends": [scene.backend] });
    put(&scene.journal, vec![route(marker)]).await;
    let mut stream = TcpStream::connect(scene.plain).unwrap();
    stream.set_nodelay(true).unwrap();
    while !is_answered(&mut stream, &last) {}
    let figures = (0..TURNS).map(|_| scene.own.loaded(REQUESTS, &["--h1", "-c", "16"])).collect();
    let beside = middle(figures);
    Row {
        what: "a request over HTTP/1.1 and TLS beside 5,000 other routes",
        measured: format!("{beside:.1} µs"),
        baseline: format!("without them {few:.1} µs"),
        ratio: format!("{:.2} ×", beside / few),
        promise: "costs nothing",
    }
}
