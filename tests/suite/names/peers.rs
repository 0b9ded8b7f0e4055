//! Owns BIND and Knot as operators set them up: two zones, one key that may change and transfer them.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::ask;
use crate::harness::{Place, program, until};

/// The key in base64, as `tsig-keygen` prints it.
const KEY: &str = "bWNydW4tdGVzdHMta2V5LW9mLTMyLW9jdGV0cy1sb25n";

const RECORDS: &str =
    "$TTL 3600\n@ IN SOA ns.example.org. hostmaster 1 3600 600 1209600 60\n@ IN NS ns.example.org.\n";

/// Which program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Bind,
    Knot,
}

/// A server that is gone when it is dropped.
pub(crate) struct Server {
    pub(crate) at: SocketAddr,
    child: Child,
    folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(kind: Kind, zones: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for zone in zones {
            std::fs::write(folder.path().join(zone), RECORDS).expect("the folder is writable");
        }
        let at = port();
        let mut server = match kind {
            Kind::Bind => bind(&folder, at, zones),
            Kind::Knot => knot(&folder, at, zones),
        };
        let log = std::fs::File::create(folder.path().join("log")).expect("the folder is writable");
        let out = log.try_clone().expect("a descriptor");
        let child = server.stdin(Stdio::null()).stdout(out).stderr(log).spawn();
        let mut server =
            Self { at, child: child.expect("tests/install.sh installs what tests need"), folder };
        until("the peer answers", || {
            let ended = server.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "{}", server.log());
            zones
                .iter()
                .all(|zone| ask::tcp(at, zone, ask::SOA).is_some_and(|answer| answer.rcode == 0))
                .then_some(())
        });
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What mcrun.toml of `place` says to have it as the driver of names.
    pub(crate) fn settings(&self, place: &Place) -> String {
        let key = place.path().join("key");
        std::fs::write(&key, KEY).expect("the place is writable");
        format!(
            "[drivers]\ndns = \"rfc2136\"\n[drivers.rfc2136]\nserver = \"{}\"\nkey = \"mcrun\"\nsecret = \"dns/key\"\n\
             [secrets.\"dns/key\"]\nfile = \"{}\"\nto = [\"dns:rfc2136\"]\n",
            self.at,
            key.display()
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already cannot be ended again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of the first address of loopback, the only one at which BIND listens. It lies below those that the system gives
/// to outgoing connections, and each test process begins at another one.
pub(crate) fn port() -> SocketAddr {
    use std::sync::atomic::{AtomicU32, Ordering};
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let given = std::process::id() % 1000 * 20 + GIVEN.fetch_add(1, Ordering::Relaxed);
        let number = u16::try_from(10_000 + given % 20_000).expect("a port");
        let at = SocketAddr::from(([127, 0, 0, 1], number));
        if std::net::TcpListener::bind(at).is_ok() && std::net::UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

fn bind(folder: &tempfile::TempDir, at: SocketAddr, zones: &[&str]) -> Command {
    let path = folder.path().display();
    let zones: String = zones
        .iter()
        .map(|zone| {
            format!(
                "zone \"{zone}\" {{ type primary; file \"{zone}\"; check-names ignore; \
                 allow-update {{ key mcrun; }}; allow-transfer {{ key mcrun; }}; }};\n"
            )
        })
        .collect();
    let text = format!(
        "options {{ directory \"{path}\"; listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }}; recursion no; \
         dnssec-validation no; notify no; pid-file \"{path}/pid\"; session-keyfile \"{path}/session\"; }};\n\
         controls {{ }};\nkey \"mcrun\" {{ algorithm hmac-sha256; secret \"{KEY}\"; }};\n{zones}",
        at.port(),
        at.ip(),
    );
    std::fs::write(folder.path().join("named.conf"), text).expect("the folder is writable");
    // Where AppArmor is at work, it keeps the program in its place from reading files of tests; a copy is free.
    let copy = folder.path().join("named");
    std::fs::copy("/usr/sbin/named", &copy).expect("tests/install.sh installs what tests need");
    let mut server = program(copy);
    server.args(["-g", "-n", "1", "-c"]).arg(folder.path().join("named.conf"));
    server
}

fn knot(folder: &tempfile::TempDir, at: SocketAddr, zones: &[&str]) -> Command {
    let path = folder.path().display();
    let zones: String = zones
        .iter()
        .map(|zone| format!("  - domain: {zone}\n    storage: \"{path}\"\n    file: {zone}\n    acl: all\n"))
        .collect();
    let text = format!(
        "server:\n  rundir: \"{path}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\ndatabase:\n  storage: \"{path}\"\n\
         key:\n  - id: mcrun\n    algorithm: hmac-sha256\n    secret: {KEY}\n\
         acl:\n  - id: all\n    key: mcrun\n    action: [query, transfer, update]\n\
         zone:\n{zones}",
        at.ip(),
        at.port(),
    );
    std::fs::write(folder.path().join("knot.conf"), text).expect("the folder is writable");
    let mut server = program("/usr/sbin/knotd");
    server.arg("-c").arg(folder.path().join("knot.conf"));
    server
}
