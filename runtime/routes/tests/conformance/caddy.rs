//! Owns a Caddy of a test's own, and what is true of Caddy alone: its configuration is others' too.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use effect::{Code, Result, Secrets};
use routes::caddy::{Client, Parts, Settings};
use routes::{Driver, Feature};
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::backend::Backend;
use crate::bench::{Peer, assert_failed, plain, put, remove, route, secure};
use crate::client::{ask, full, get};
use crate::pki::Pki;
use crate::program::{Program, command, peers, port};

/// A Caddy that is gone when this is dropped.
pub(crate) struct Caddy {
    pub(crate) program: Program,
    pub(crate) admin: SocketAddr,
    client: Client,
    pki: Arc<Pki>,
    plain: SocketAddr,
    secure: SocketAddr,
    _folder: TempDir,
}

/// No secret but the token.
struct Tokens;

#[async_trait]
impl Secrets for Tokens {
    async fn reveal(&self, _: &str) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(b"let-me-in\n".to_vec()))
    }

    fn may_go(&self, _: &str, destination: &str) -> Result<bool> {
        Ok(destination == "routes:caddy")
    }
}

pub(crate) fn client(settings: Settings, pki: &Arc<Pki>) -> Client {
    let routes = routes::Settings { addresses: vec!["127.0.0.1".parse().unwrap()], ..Default::default() };
    let secrets = peer::Secrets::new(Arc::new(Tokens), "routes:caddy");
    Client::new(settings, Parts { secrets, certificates: pki.clone(), routes }).unwrap()
}

pub(crate) fn settings(admin: impl ToString) -> Settings {
    Settings { admin: admin.to_string(), ..Settings::default() }
}

fn start(folder: &Path, config: &Value) -> std::process::Command {
    let file = folder.join("caddy.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut caddy = command(peers().join("bin/caddy"));
    caddy.arg("run").arg("--config").arg(file);
    caddy.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
    caddy
}

impl Caddy {
    pub(crate) async fn start() -> Self {
        Self::beside(json!({})).await
    }

    /// One that serves others as well.
    pub(crate) async fn beside(apps: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let admin = port();
        let config = json!({ "admin": { "listen": admin }, "apps": apps });
        let program =
            Program::start(&mut start(folder.path(), &config), &folder.path().join("log"), admin).await;
        let pki = Pki::new();
        let client = client(settings(admin), &pki);
        Self { program, admin, client, pki, plain: port(), secure: port(), _folder: folder }
    }

    /// Its configuration, as everybody sees it.
    pub(crate) async fn config(&self) -> Value {
        let answer = get(&crate::client::Way::plain(self.admin), "127.0.0.1", "/config/").await.unwrap();
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Changes it as somebody else would.
    pub(crate) async fn meddle(&self, method: &str, path: &str, body: &Value) {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(full(body.to_string()))
            .unwrap();
        let answer = ask(&crate::client::Way::plain(self.admin), "127.0.0.1", request).await.unwrap();
        assert_eq!(answer.status, 200, "{method} {path} {}", answer.body);
    }
}

#[async_trait]
impl Peer for Caddy {
    fn driver(&self) -> &dyn Driver {
        &self.client
    }

    fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }

    fn plain(&self) -> SocketAddr {
        self.plain
    }

    fn secure(&self) -> SocketAddr {
        self.secure
    }

    async fn version(&self) -> String {
        self.config().await.to_string()
    }

    /// It opens its listeners anew for every change, and what the kernel had queued at the old ones is reset.
    fn breaks_connections(&self) -> bool {
        true
    }
}

/// The `@id` of the only route of ours.
fn id(config: &Value, port: u16) -> String {
    let routes = config["apps"]["http"]["servers"][format!("mcrun-{port}")]["routes"].as_array().unwrap();
    routes
        .iter()
        .find_map(|route| route["handle"][0]["mcrun"].is_object().then(|| route["@id"].clone()))
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn what_others_configured_stays_as_it_is() {
    let other = port();
    let foreign = json!({
        "http": { "servers": { "other": {
            "listen": [other],
            "routes": [{ "@id": "foreign", "handle": [{ "handler": "static_response", "body": "foreign" }] }],
        } } },
        "tls": { "certificates": { "automate": [] } },
    });
    let caddy = Caddy::beside(foreign).await;
    let before = caddy.config().await;
    let backend = Backend::start("one").await;
    caddy.pki.issue("mcq", &["mcq.test"]);
    let tls = route(caddy.secure, "mcq.test", &[backend.address], json!({ "cert": "mcq" }));
    let bare = route(caddy.plain, "mcq.test", &[backend.address], json!({}));
    put(&caddy, &tls).await;
    put(&caddy, &bare).await;
    let during = caddy.config().await;
    let theirs =
        |config: &Value| (config["admin"].clone(), config["apps"]["http"]["servers"]["other"].clone());
    assert_eq!(theirs(&during), theirs(&before));
    let answer = get(&crate::client::Way::plain(other), "any.test", "/").await.unwrap();
    assert_eq!(answer.body, "foreign");
    // A port of theirs is not taken from them.
    let taken = route(other, "mcq.test", &[backend.address], json!({}));
    for refused in [caddy.client.admit(&taken).await, caddy.client.put(&taken).await] {
        assert_failed(refused, Code::RoutePort, "`other`");
    }
    // What they add to a server of ours stays, behind our routes.
    let server = format!("/config/apps/http/servers/mcrun-{}/routes", caddy.plain.port());
    let added = json!({
        "match": [{ "host": ["added.test"] }],
        "handle": [{ "handler": "static_response", "body": "added" }],
        "terminal": true,
    });
    caddy.meddle("POST", &server, &added).await;
    put(&caddy, &route(caddy.plain, "mcr.test", &[backend.address], json!({}))).await;
    assert_eq!(get(&plain(&caddy), "added.test", "/").await.unwrap().body, "added");
    remove(&caddy, &route(caddy.plain, "mcr.test", &[backend.address], json!({}))).await;
    remove(&caddy, &tls).await;
    remove(&caddy, &bare).await;
    let after = caddy.config().await;
    let kept = &after["apps"]["http"]["servers"][format!("mcrun-{}", caddy.plain.port())]["routes"];
    assert_eq!(kept, &json!([added]));
    caddy
        .meddle("DELETE", &format!("/config/apps/http/servers/mcrun-{}", caddy.plain.port()), &json!({}))
        .await;
    assert_eq!(caddy.config().await, before);
}

#[tokio::test]
async fn what_somebody_changed_behind_our_back_is_seen_and_put_right() {
    let caddy = Caddy::start().await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    caddy.pki.issue("mcq", &["mcq.test"]);
    let more = json!({ "cert": "mcq", "service": "mcq", "limits": { "body": "1KiB" }, "drain": "7s" });
    let wanted = route(caddy.secure, "mcq.test", &[one.address], more);
    let key = wanted.route.key();
    put(&caddy, &wanted).await;
    let config = caddy.config().await;
    let route = format!("/id/{}", id(&config, caddy.secure.port()));
    let read = async || caddy.client.get(&key).await.unwrap();
    // The handlers are: what is noted, the body's limit, the back ends.
    let upstreams = format!("{route}/handle/2/upstreams");
    caddy.meddle("PATCH", &upstreams, &json!([{ "dial": two.address }])).await;
    let seen = read().await.unwrap();
    assert_eq!((seen.route.backends[0].0, seen.route.service.as_deref()), (two.address, Some("mcq")));
    assert_eq!(get(&secure(&caddy), "mcq.test", "/").await.unwrap().by(), "two");
    put(&caddy, &wanted).await;
    assert_eq!(get(&secure(&caddy), "mcq.test", "/").await.unwrap().by(), "one");
    caddy.meddle("PATCH", &format!("{route}/handle/1/max_size"), &json!(9)).await;
    assert_eq!(read().await.unwrap().route.limits.body.unwrap().0, 9);
    put(&caddy, &wanted).await;
    // The certificate: not shown any more, and an older one than there is.
    let server = format!("/config/apps/http/servers/mcrun-{}", caddy.secure.port());
    caddy.meddle("PATCH", &format!("{server}/tls_connection_policies"), &json!([{}])).await;
    assert_eq!(read().await.unwrap().route.cert, None);
    put(&caddy, &wanted).await;
    let renewed = caddy.pki.issue("mcq", &["mcq.test"]);
    assert_eq!(read().await.unwrap().route.cert, None, "what is shown is an older one");
    put(&caddy, &wanted).await;
    assert_eq!(get(&secure(&caddy), "mcq.test", "/").await.unwrap().certificate, Some(renewed));
    caddy.pki.withdraw("mcq");
    assert_eq!(read().await.as_ref(), Some(&wanted), "Caddy alone knows what it was");
    caddy.pki.issue("mcq", &["mcq.test"]);
    // What no route of ours can say counts as none, and is put right as well.
    let encode = json!({ "handler": "encode", "encodings": { "gzip": {} } });
    caddy.meddle("PUT", &format!("{route}/handle/1"), &encode).await;
    assert_eq!(read().await, None);
    put(&caddy, &wanted).await;
    caddy.meddle("PATCH", &format!("{server}/listen"), &json!([port()])).await;
    assert_eq!(read().await, None, "it is served elsewhere");
    put(&caddy, &wanted).await;
    caddy.meddle("DELETE", &route, &json!({})).await;
    assert_eq!(read().await, None);
    put(&caddy, &wanted).await;
    // A new configuration, as `caddy reload` brings it.
    caddy.meddle("POST", "/load", &json!({ "admin": { "listen": caddy.admin } })).await;
    assert_eq!(caddy.client.list().await.unwrap(), []);
    caddy.client.remove(&key).await.unwrap();
    put(&caddy, &wanted).await;
    assert_eq!(get(&secure(&caddy), "mcq.test", "/").await.unwrap().by(), "one");
}

#[tokio::test]
async fn changes_of_several_at_once_are_all_made() {
    let caddy = Caddy::start().await;
    let backend = Backend::start("one").await;
    let standings: Vec<_> =
        (0..6).map(|n| route(caddy.plain, &format!("n{n}.test"), &[backend.address], json!({}))).collect();
    let others: Vec<Client> = standings.iter().map(|_| client(settings(caddy.admin), &caddy.pki)).collect();
    let putting = standings.iter().zip(&others).map(async |(standing, client)| {
        // Each one that loses six times in a row is told to try again.
        while let Err(error) = client.put(standing).await {
            assert!(error.retryable, "{error:?}");
        }
    });
    futures_util::future::join_all(putting).await;
    assert_eq!(caddy.client.list().await.unwrap(), standings);
}

#[tokio::test]
async fn a_port_without_tls_takes_no_route_with_a_certificate() {
    let caddy = Caddy::start().await;
    let backend = Backend::start("one").await;
    caddy.pki.issue("mcq", &["mcq.test"]);
    put(&caddy, &route(caddy.plain, "bare.test", &[backend.address], json!({}))).await;
    let before = caddy.config().await;
    let tls = route(caddy.plain, "mcq.test", &[backend.address], json!({ "cert": "mcq" }));
    assert_failed(caddy.client.put(&tls).await, Code::ProxyRefused, "either by TLS or without");
    // Nor one that another program has.
    let held = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = route(held.local_addr().unwrap(), "mcq.test", &[backend.address], json!({}));
    assert_failed(caddy.client.put(&taken).await, Code::RoutePort, "in use");
    let missing = route(caddy.secure, "mcq.test", &[backend.address], json!({ "cert": "nowhere" }));
    assert_failed(caddy.client.put(&missing).await, Code::CertificateUnknown, "nowhere");
    let by_tcp = route(caddy.plain, "mcq.test", &[backend.address], json!({ "health": {} }));
    assert_failed(caddy.client.admit(&by_tcp).await, Code::Unsupported, "HTTP alone");
    assert_eq!(caddy.config().await, before);
}

#[tokio::test]
async fn caddy_is_reached_through_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let listen = format!("unix/{}", socket.display());
    let other = port();
    let respond = json!([{ "handle": [{ "handler": "static_response" }] }]);
    let server = json!({ "listen": [other], "routes": respond });
    let config = json!({ "admin": { "listen": listen }, "apps": { "http": { "servers": { "x": server } } } });
    let _program =
        Program::start(&mut start(folder.path(), &config), &folder.path().join("log"), other).await;
    let client = client(settings(listen), &Pki::new());
    let backend = Backend::start("one").await;
    let at = port();
    let wanted = route(at, "mcq.test", &[backend.address], json!({}));
    client.put(&wanted).await.unwrap();
    assert_eq!(client.list().await.unwrap(), [wanted]);
    assert_eq!(get(&crate::client::Way::plain(at), "mcq.test", "/").await.unwrap().by(), "one");
    assert!(client.features().contains(&Feature::Tls));
}
