//! Owns pebble, the ACME authority of the tests, with a DNS server that answers everything with loopback.

use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use certs::Driver;
use certs::acme::driver::{Challenge, ChallengeKind, Client, Parts, Responder, Settings};
use effect::Result;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::bench::{Authority, acme_parts};
use crate::program::{Program, command, output, ports};

pub(crate) struct Pebble {
    program: Program,
    _names: Program,
    pub(crate) folder: TempDir,
    directory: SocketAddr,
    management: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) tls: SocketAddr,
    records: SocketAddr,
    environment: Vec<(&'static str, &'static str)>,
    client: Option<Client>,
}

/// The key of the external account `kid-1`.
pub(crate) const BINDING: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

impl Pebble {
    /// Starts it and a driver of all three ways.
    pub(crate) async fn start(environment: &[(&'static str, &'static str)]) -> Self {
        Self::with(environment, false).await
    }

    pub(crate) async fn with(environment: &[(&'static str, &'static str)], binds: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [directory, management, http, tls, names, records] = ports();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("tls.pem"), certificate.pem()).unwrap();
        std::fs::write(at("tls.key"), key.serialize_pem()).unwrap();
        let settings = serde_json::json!({ "pebble": {
            "listenAddress": directory.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": at("tls.pem"),
            "privateKey": at("tls.key"),
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": binds,
            "externalAccountMACKeys": { "kid-1": BINDING },
        }});
        std::fs::write(at("pebble.json"), settings.to_string()).unwrap();
        let mut server = command("pebble-challtestsrv");
        server.args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        server.args(["-dns01", &names.to_string(), "-management", &records.to_string()]);
        let names_server = Program::start(&mut server, &at("names.log"), records).await;
        std::fs::write(at("names"), names.to_string()).unwrap();
        let program = Self::run(&folder, directory, environment).await;
        let mut pebble = Self {
            program,
            _names: names_server,
            folder,
            directory,
            management,
            http,
            tls,
            records,
            environment: environment.to_vec(),
            client: None,
        };
        pebble.client = Some(Client::new(pebble.settings(), pebble.parts("state")).unwrap());
        pebble
    }

    async fn run(
        folder: &TempDir,
        directory: SocketAddr,
        environment: &[(&'static str, &'static str)],
    ) -> Program {
        let names = std::fs::read_to_string(folder.path().join("names")).unwrap();
        let mut server = command("pebble");
        server.arg("-config").arg(folder.path().join("pebble.json")).args(["-dnsserver", &names]);
        server
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "5")
            .envs(environment.iter().copied());
        Program::start(&mut server, &folder.path().join("pebble.log"), directory).await
    }

    /// Ends it and starts it again: it has forgotten everything.
    pub(crate) async fn restart(self) -> Self {
        let Self { program, _names, folder, directory, management, http, tls, records, environment, client } =
            self;
        drop(program);
        let program = Self::run(&folder, directory, &environment).await;
        Self { program, _names, folder, directory, management, http, tls, records, environment, client }
    }

    pub(crate) fn settings(&self) -> Settings {
        let settings = serde_json::json!({
            "directory": format!("https://{}/dir", self.directory),
            "ca": self.ca(),
            "agree_tos": true,
            "contact": ["ops@mcrun.test"],
            "challenges": ["http-01", "tls-alpn-01", "dns-01"],
            "http": self.http,
            "tls": self.tls,
        });
        serde_json::from_value(settings).unwrap()
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("tls.pem")
    }

    /// Parts with a state directory of that name, which is made if it is not there.
    pub(crate) fn parts(&self, state: &str) -> Parts {
        let state = self.folder.path().join(state);
        std::fs::create_dir_all(&state).unwrap();
        Parts { responders: vec![std::sync::Arc::new(Records(self.records))], ..acme_parts(&state) }
    }

    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// How many certificates it made.
    pub(crate) fn certificates(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }

    pub(crate) fn root(&self, number: u32) -> String {
        self.manage(&format!("roots/{number}"))
    }

    fn manage(&self, path: &str) -> String {
        let url = format!("https://{}/{path}", self.management);
        output("curl", &["--silent", "--show-error", "--cacert", &self.ca().display().to_string(), &url])
    }
}

#[async_trait]
impl Authority for Pebble {
    fn driver(&self) -> &dyn Driver {
        self.client.as_ref().unwrap()
    }

    fn roots(&self) -> String {
        self.root(0)
    }

    async fn is_revoked(&self, certificate: &CertificateDer<'static>) -> bool {
        let serial = certs::certificate::Facts::of(certificate).unwrap().serial;
        self.manage(&format!("cert-status-by-serial/{serial}")).contains("Revoked")
    }
}

/// Writes records for dns-01 into the tests' DNS server.
struct Records(SocketAddr);

impl Records {
    fn tell(&self, path: &str, body: &serde_json::Value) {
        let url = format!("http://{}/{path}", self.0);
        output("curl", &["--silent", "--show-error", "--fail", "--data", &body.to_string(), &url]);
    }
}

#[async_trait]
impl Responder for Records {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Dns
    }

    async fn present(&self, challenge: &Challenge) -> Result<()> {
        let host = format!("{}.", challenge.dns_name());
        self.tell("set-txt", &serde_json::json!({ "host": host, "value": challenge.dns_value() }));
        Ok(())
    }

    async fn withdraw(&self, challenge: &Challenge) -> Result<()> {
        self.tell("clear-txt", &serde_json::json!({ "host": format!("{}.", challenge.dns_name()) }));
        Ok(())
    }
}
