//! Owns two sides of a test: a proxy's side with journal, authority and sockets, and drivers that reach it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use certs::embedded::Authority;
use daemon::identity::Identity;
use daemon::routes::{Door, Gate, Issuers, open_socket, serve_socket, serve_tls};
use effect::access::{Policy, Rule};
use effect::units::Span;
use effect::{Code, Error, Result, Sealer};
use journal::{Journal, SystemClock};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use routes::driver::BackendFigures;
use routes::remote::{self, Client, Rules, Server, Settings};
use routes::route::Backend;
use routes::settings::Api;
use routes::{Certificates, Drained, Embedded, Figures, Gateway, Hostname, Key, Material, Route, Standing};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The name of the proxy's side.
pub(crate) const HOST: &str = "svc.mcrun.test";

/// `[routes.api]` of every test.
const RULES: &str = r#"
domains = ["metacircular.net"]
internal = ["svc.mcp.metacircular.net"]

[clients."rift.mcrun.test"]
domains = ["metacircular.net"]
services = ["mcq", "mcr"]

[clients."lab.mcrun.test"]
domains = ["lab.example"]
"#;

fn settings_of_api() -> Api {
    toml::from_str(RULES).unwrap()
}

/// What mcrun.toml compiles to with these rules of access.
fn policy(rules: Value) -> Policy {
    let rules: Vec<Rule> = serde_json::from_value(rules).unwrap();
    Policy::new(&rules, settings_of_api().rules()).unwrap()
}

/// An edge that serves whatever is recorded at once.
struct Obedient;

#[async_trait]
impl Gateway for Obedient {
    async fn is_there(&self) -> bool {
        true
    }

    async fn admit(&self, standing: &Standing) -> Result<()> {
        match standing.route.listen {
            22 => {
                Err(Error::new(Code::RoutePort, "port 22 is held by another program").hint("choose another"))
            }
            _ => Ok(()),
        }
    }

    async fn settle(&self, _: &Key, _: Option<&Standing>, _: Duration) -> Result<()> {
        Ok(())
    }

    async fn settle_proof(&self, _: &str, _: bool) -> Result<()> {
        Ok(())
    }

    async fn drain(&self, _: &Key, backend: Option<Backend>, within: Duration) -> Result<Option<Drained>> {
        Ok(Some(Drained { ended: within.as_secs(), cut: u64::from(backend.is_some()) }))
    }

    async fn figures(&self) -> Result<Vec<Figures>> {
        let backend = BackendFigures {
            address: "192.0.2.1:80".parse().unwrap(),
            healthy: false,
            active: 1,
            requests: 2,
            failed: 3,
            problem: Some("refused".into()),
        };
        let of = |route: &str| Figures {
            route: route.into(),
            requests: 7,
            statuses: [(2, 5), (5, 2)].into(),
            backends: vec![backend.clone()],
            ..Figures::default()
        };
        Ok(vec![of("mcq.metacircular.net:443"), of("a.lab.example:443")])
    }
}

/// Certificates that are got here: whatever is wished for, once.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) names: Mutex<Vec<(String, Vec<String>)>>,
}

#[async_trait]
impl remote::Issuer for Got {
    fn id(&self, hostname: &Hostname) -> String {
        format!("auto.{hostname}")
    }

    async fn names(&self, id: &str) -> Result<Option<Vec<String>>> {
        let known = self.names.lock().unwrap();
        Ok(known.iter().find(|(known, _)| known == id).map(|(_, names)| names.clone()))
    }

    async fn obtain(&self, Route { hostname, .. }: &Route) -> Result<()> {
        self.names.lock().unwrap().push((self.id(hostname), vec![hostname.to_string()]));
        Ok(())
    }
}

/// Nothing is shown from records here.
pub(crate) struct NoRecords;

#[async_trait]
impl Certificates for NoRecords {
    async fn material(&self, id: &str) -> Result<Material> {
        Err(Error::new(Code::CertificateUnknown, format!("there is no certificate `{id}`")))
    }

    async fn check(&self, _: &str, _: &Hostname) -> Result<()> {
        Ok(())
    }
}

/// An authority of clients.
pub(crate) struct Pki {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), root.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate of a client, as two files.
    pub(crate) fn client(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let place = |end: &str| self.folder.path().join(format!("{name}.{end}"));
        std::fs::write(place("pem"), certificate.pem()).unwrap();
        std::fs::write(place("key"), key.serialize_pem()).unwrap();
        (place("pem"), place("key"))
    }
}

/// The proxy's side.
pub(crate) struct Side {
    pub(crate) folder: TempDir,
    pub(crate) driver: Embedded,
    pub(crate) got: Arc<Got>,
    pub(crate) server: Server,
    pub(crate) pki: Pki,
    pub(crate) journal: Journal,
    access: Arc<Mutex<Arc<Policy>>>,
    sealer: Arc<Sealer>,
    over: watch::Sender<bool>,
}

impl Side {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let sealer = Arc::new(Sealer::open(folder.path()).unwrap());
        let settings = routes::Settings { addresses: vec![[127, 0, 0, 1].into()], ..Default::default() };
        let driver = Embedded::new(journal.clone(), "svc", settings, Arc::new(Obedient));
        let got = Arc::new(Got::default());
        let rules = Rules::new(&settings_of_api());
        let server = Server::new(Arc::new(driver.clone()), rules, "svc", Some(got.clone()));
        let over = watch::Sender::new(false);
        let access = Arc::new(Mutex::new(Arc::new(policy(json!([])))));
        Self { folder, driver, got, server, pki: Pki::new(), journal, access, sealer, over }
    }

    /// Has these rules of access count from now on.
    pub(crate) fn rule(&self, rules: Value) {
        *self.access.lock().unwrap() = Arc::new(policy(rules));
    }

    /// Has no rule know anybody from now on.
    pub(crate) fn forget_clients(&self) {
        *self.access.lock().unwrap() = Arc::default();
    }

    pub(crate) fn gate(&self) -> Gate {
        let access = self.access.clone();
        Gate::new(Arc::new(move || access.lock().unwrap().clone()), self.journal.clone())
    }

    pub(crate) fn authority(&self) -> Authority {
        let (journal, sealer) = (self.journal.clone(), self.sealer.clone());
        Authority::new(journal, sealer, "svc", self.folder.path(), Default::default())
    }

    /// Ends what listens, and waits for nothing.
    pub(crate) fn end(&self) {
        self.over.send_replace(true);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("routes.sock")
    }

    pub(crate) async fn listen_here(&self) {
        let listener = open_socket(&self.socket(), None).await.unwrap();
        tokio::spawn(serve_socket(listener, (self.server.clone(), self.gate()), self.over.subscribe()));
    }

    /// A driver over the socket.
    pub(crate) async fn here(&self) -> Client {
        self.listen_here().await;
        over_socket(&self.socket())
    }

    pub(crate) async fn listen(&self) -> SocketAddr {
        self.listen_to(Issuers::File(self.pki.ca())).await.0
    }

    pub(crate) async fn listen_to(&self, issuers: Issuers) -> (SocketAddr, Arc<Door>) {
        let names = certs::Names::parse(&[HOST.to_owned()]).unwrap();
        let identity = Identity::new(self.authority(), names);
        let door = Arc::new(Door::open(identity, issuers).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answering = (self.server.clone(), self.gate());
        tokio::spawn(serve_tls(listener, door.clone(), answering, self.over.subscribe()));
        (address, door)
    }

    /// The settings of a driver that holds the certificate `name`.
    pub(crate) async fn settings(&self, address: SocketAddr, (chain, key): (PathBuf, PathBuf)) -> Settings {
        let roots = certs::certificate::to_pem(&self.authority().trusted().await.unwrap());
        let ca = self.folder.path().join("roots.pem");
        std::fs::write(&ca, roots).unwrap();
        Settings {
            socket: None,
            address: Some(address),
            name: Some(HOST.into()),
            ca: Some(ca),
            certificate: None,
            chain: Some(chain),
            key: Some(key),
            timeout: Span::seconds(10),
        }
    }

    /// A driver that holds a good certificate with `name`.
    pub(crate) async fn afar(&self, name: &str) -> Client {
        let address = self.listen().await;
        let settings = self.settings(address, self.pki.client(name, |_| {})).await;
        Client::new(&settings, Arc::new(NoRecords)).unwrap()
    }
}

pub(crate) fn over_socket(path: &Path) -> Client {
    let settings: Settings = toml::from_str(&format!("socket = {path:?}\ntimeout = \"5s\"")).unwrap();
    Client::new(&settings, Arc::new(NoRecords)).unwrap()
}

pub(crate) fn route(hostname: &str, more: Value) -> Standing {
    let mut all = json!({
        "listen": 443, "hostname": hostname, "service": "mcq", "backends": ["192.0.2.1:8080"], "public": true,
        "drain": "0s",
    });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Standing { route: serde_json::from_value::<Route>(all).unwrap(), paused: false }
}
