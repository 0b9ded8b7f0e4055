//! Owns BIND, Knot and PowerDNS as operators set them up: one zone, one key that may change and transfer it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dns::rfc2136::{Client, Parts, Settings};
use dns::{Driver, RecordType};
use tempfile::TempDir;

use crate::bench::{KEY, Peer, ZONE, update_parts, zone};
use crate::program::{Program, command, port, succeed};

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bind,
    Knot,
    PowerDns,
}

pub(crate) struct Server {
    kind: Kind,
    pub(crate) address: SocketAddr,
    program: Program,
    _folder: TempDir,
    client: Arc<Client>,
}

/// Starting takes milliseconds where nobody else computes.
const PATIENCE: u32 = 1500;

const RECORDS: &str = "\
$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 604800 300
@ IN NS ns1
@ IN NS ns2
ns1 IN A 192.0.2.53
ns2 IN A 192.0.2.54
";

impl Server {
    pub(crate) async fn start(kind: Kind) -> Self {
        Self::start_with(kind, "").await
    }

    /// With further lines of the zone file.
    pub(crate) async fn start_with(kind: Kind, records: &str) -> Self {
        Self::start_as(kind, records, false).await
    }

    /// With a zone that the server itself signs (RFC 4035).
    pub(crate) async fn start_signing(kind: Kind) -> Self {
        Self::start_as(kind, "", true).await
    }

    async fn start_as(kind: Kind, records: &str, signs: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("zone"), format!("{RECORDS}{records}")).unwrap();
        let address = port();
        let mut server = match kind {
            Kind::Bind => bind(&folder, address, signs),
            Kind::Knot => knot(&folder, address, signs),
            Kind::PowerDns => powerdns(&folder, address),
        };
        let program = Program::start(&mut server, &folder.path().join("log"));
        let client = Arc::new(
            Client::new(Settings { every_type: kind != Kind::PowerDns, ..settings(address) }, update_parts())
                .unwrap(),
        );
        let mut server = Self { kind, address, program, _folder: folder, client };
        server.wait().await;
        server
    }

    /// Until it answers a question about the zone.
    async fn wait(&mut self) {
        for _ in 0..PATIENCE {
            self.program.check();
            match self.client.zone(&zone()).await {
                Ok(Some(_)) => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        let last = self.client.zone(&zone()).await;
        panic!("{:?} never answered: {last:?} {}", self.kind, self.program.log());
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// Another driver for it.
    pub(crate) fn client(&self, settings: Settings, parts: Parts) -> Client {
        Client::new(Settings { server: dns::settings::Address(self.address), ..settings }, parts).unwrap()
    }
}

pub(crate) fn settings(address: SocketAddr) -> Settings {
    toml::from_str(&format!(
        "server = \"{address}\"\nkey = \"mcrun\"\nsecret = \"dns/key\"\ntimeout = \"3s\""
    ))
    .unwrap()
}

impl Peer for Server {
    fn driver(&self) -> Arc<dyn Driver> {
        self.client.clone()
    }

    fn keeps_its_serial(&self) -> bool {
        self.kind != Kind::PowerDns
    }

    fn has(&self, rtype: RecordType) -> bool {
        // PowerDNS 4.7 has DNAME only where `dname-processing` is on.
        self.kind != Kind::PowerDns || rtype != RecordType::DNAME
    }

    fn takes(&self, text: &str) -> bool {
        // Its tables hold names as text, and it does not find octets such as these again.
        self.kind != Kind::PowerDns || !text.contains("\\000")
    }
}

fn bind(folder: &TempDir, address: SocketAddr, signs: bool) -> std::process::Command {
    let path = folder.path().display();
    let text = format!(
        "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
         recursion no; dnssec-validation no; notify no; pid-file \"{path}/pid\"; session-keyfile \"{path}/session\"; \
         minimal-responses no; }};\n\
         controls {{ }};\n\
         key \"mcrun\" {{ algorithm hmac-sha256; secret \"{KEY}\"; }};\n\
         key \"reader\" {{ algorithm hmac-sha256; secret \"{KEY}\"; }};\n\
         zone \"{ZONE}\" {{ type primary; file \"zone\"; check-names ignore; \
         allow-update {{ key mcrun; }}; allow-transfer {{ key mcrun; }}; {signing} }};\n",
        port = address.port(),
        signing = if signs { "dnssec-policy default;" } else { "" },
    );
    std::fs::write(folder.path().join("named.conf"), text).unwrap();
    // Where AppArmor is at work, it keeps the program in its place from reading files of tests; a copy is free.
    let program = folder.path().join("named");
    std::fs::copy("/usr/sbin/named", &program)
        .unwrap_or_else(|cause| panic!("BIND: {cause}; tests/install.sh installs what tests need"));
    let mut server = command(program);
    server.args(["-g", "-n", "1", "-c"]).arg(folder.path().join("named.conf"));
    server
}

fn knot(folder: &TempDir, address: SocketAddr, signs: bool) -> std::process::Command {
    let path = folder.path().display();
    let text = format!(
        "server:\n  rundir: \"{path}\"\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n  storage: \"{path}\"\n\
         key:\n  - id: mcrun\n    algorithm: hmac-sha256\n    secret: {KEY}\n  - id: reader\n    algorithm: hmac-sha256\n    secret: {KEY}\n\
         acl:\n  - id: all\n    key: mcrun\n    action: [query, transfer, update]\n  - id: questions\n    key: reader\n    action: [query]\n\
         zone:\n  - domain: {ZONE}\n    storage: \"{path}\"\n    file: zone\n    acl: [all, questions]\n    dnssec-signing: {signing}\n",
        port = address.port(),
        signing = if signs { "on" } else { "off" },
    );
    std::fs::write(folder.path().join("knot.conf"), text).unwrap();
    let mut server = command("/usr/sbin/knotd");
    server.arg("-c").arg(folder.path().join("knot.conf"));
    server
}

fn powerdns(folder: &TempDir, address: SocketAddr) -> std::process::Command {
    let path = folder.path().display();
    let text = format!(
        "launch=gsqlite3\ngsqlite3-database={path}/db\ngsqlite3-dnssec=yes\nsocket-dir={path}\nlocal-address=127.0.0.1\n\
         local-port={port}\ndnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8\nallow-axfr-ips=\ndisable-axfr=no\nsecurity-poll-suffix=\n\
         guardian=no\ndaemon=no\nsetuid=root\nsetgid=root\nversion-string=anonymous\n",
        port = address.port()
    );
    std::fs::write(folder.path().join("pdns.conf"), text).unwrap();
    let schema = std::fs::read_to_string("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
        .unwrap_or_else(|cause| panic!("PowerDNS: {cause}; tests/install.sh installs what tests need"));
    let database = rusqlite::Connection::open(folder.path().join("db")).unwrap();
    database.execute_batch(&schema).unwrap();
    drop(database);
    let tell = |words: &[&str]| {
        let mut tool = command("/usr/bin/pdnsutil");
        tool.arg(format!("--config-dir={path}")).args(words);
        succeed(&mut tool)
    };
    let file = folder.path().join("zone").display().to_string();
    tell(&["load-zone", ZONE, &file]);
    tell(&["set-kind", ZONE, "primary"]);
    for key in ["mcrun", "reader"] {
        tell(&["import-tsig-key", key, "hmac-sha256", KEY]);
    }
    tell(&["set-meta", ZONE, "TSIG-ALLOW-DNSUPDATE", "mcrun"]);
    tell(&["set-meta", ZONE, "TSIG-ALLOW-AXFR", "mcrun"]);
    tell(&["set-meta", ZONE, "SOA-EDIT-DNSUPDATE", "INCREASE"]);
    let mut server = command("/usr/sbin/pdns_server");
    server.arg(format!("--config-dir={path}"));
    server
}
