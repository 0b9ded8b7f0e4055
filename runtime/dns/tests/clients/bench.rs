//! Owns the server under test: the platform's two zones in a database, answered on loopback by the loops that the edge runs.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dns::embedded::{Embedded, Feed, Store};
use dns::forward::{self, Forwarder};
use dns::server::counts::Counts;
use dns::server::signed::{Key, KeySettings, Keys};
use dns::server::{Beyond, Service, Snapshot, tcp, udp};
use dns::{Driver, Name, RecordType, file};
use journal::{Journal, SystemClock};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::program::{port, succeed};

/// 32 octets.
pub(crate) const SECRET: &str = "bWNydW4gdGVzdCBrZXkgb2YgMzIgb2N0ZXRzLCBvaw==";
pub(crate) const SERVICES: &str = "svc.mcp.metacircular.net";
pub(crate) const NODES: &str = "mcp.metacircular.net";

/// The zones, with what clients trip over beside what the platform has: aliases, a wildcard, answers that no datagram holds.
const ZONES: [(&str, &str); 2] = [
    (
        SERVICES,
        "$TTL 300
@ 300 SOA ns hostmaster 2026040301 3600 600 604800 60
@ NS ns
ns A 100.95.252.120
mcns A 100.95.252.120
mcq A 100.95.252.120
mcr A 100.95.252.120
metacrypt A 100.95.252.120
mcdoc A 100.95.252.120
mcias A 100.106.232.4
kls A 100.95.252.120
    A 192.168.88.181
    AAAA 2001:db8::120
registry CNAME mcr
outside CNAME www.wntrmute.dev.
*.wild TXT \"any name \\\"beneath\\\"\"
odd TYPE65280 \\# 3 ABCDEF
_mcr._tcp SRV 0 5 8443 mcr
",
    ),
    (
        NODES,
        "$TTL 300
@ 300 SOA ns hostmaster 2026040301 3600 600 604800 60
@ NS ns
ns A 100.95.252.120
svc NS ns.svc
ns.svc A 100.95.252.120
rift A 192.168.88.181
rift A 100.95.252.120
orion A 192.168.88.214
",
    ),
];

/// The zone of services as a file, for other servers.
pub(crate) fn zone_file() -> String {
    format!("{}{}", ZONES[0].1, large())
}

/// A set that no datagram holds.
fn large() -> String {
    (0..40).map(|number| format!("large TXT \"{number:02} {}\"\n", "x".repeat(80))).collect()
}

const KEYS: &str = "
[all]
secret = \"dns/all\"
write = [\"svc.mcp.metacircular.net/*\"]
transfer = [\"*\"]
[challenge]
secret = \"dns/challenge\"
write = [\"svc.mcp.metacircular.net/_acme-challenge.*\"]
";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) driver: Embedded,
    tasks: Vec<JoinHandle<()>>,
    over: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::forwarding(None).await
    }

    /// One that asks `upstream` for names that are not ours.
    pub(crate) async fn forwarding(upstream: Option<SocketAddr>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let driver = Embedded::new(Store::new(journal, "rift"), Vec::new());
        for (zone, text) in ZONES {
            fill(&driver, zone, &if zone == SERVICES { format!("{text}{}", large()) } else { text.into() })
                .await;
        }
        let settings: BTreeMap<String, KeySettings> = toml::from_str(KEYS).unwrap();
        let keys = settings.iter().map(|(name, key)| Key::new(name, key, SECRET.as_bytes()).unwrap());
        let keys = Arc::new(Keys::new(keys.collect()).unwrap());
        let beyond =
            Beyond::new(keys, &BTreeMap::new(), Some(driver.clone()), Arc::new(SystemClock), false).unwrap();
        let forwarder = upstream.map(|upstream| {
            let fallback = vec![upstream.to_string().parse().unwrap()];
            Forwarder::new(&forward::Settings { fallback, ..forward::Settings::default() }).unwrap()
        });
        let service = Service::new(forwarder, Some(beyond), 0);
        let mut feed = Feed::open(folder.path(), "rift").unwrap();
        service.put(feed.look(&Snapshot::default()).unwrap().unwrap());

        let (over, ending) = watch::channel(false);
        let address = port();
        let counts = Arc::new(Counts::default());
        let udp = UdpSocket::bind(address).unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        let datagrams = udp::serve(udp, service.clone(), counts.clone(), ending.clone());
        let connections = tcp::serve(tcp, service.clone(), counts, ending);
        let tasks = vec![
            tokio::spawn(async move { datagrams.await.unwrap() }),
            tokio::spawn(async move { connections.await.unwrap() }),
            tokio::spawn(follow(service, feed)),
        ];
        Self { address, driver, tasks, over, _folder: folder }
    }

    /// Has the loops end, as an edge does that hands over to its successor; until they have.
    pub(crate) async fn end(mut self) {
        self.over.send(true).unwrap();
        for task in self.tasks.drain(..2) {
            task.await.unwrap();
        }
    }

    /// What `name` has in the zone of services.
    pub(crate) async fn texts(&self, name: &str, rtype: RecordType) -> Vec<String> {
        let zone = Name::absolute(SERVICES).unwrap();
        let name = Name::within(name, &zone).unwrap();
        self.driver.get(&zone, &name, rtype).await.unwrap().map(|set| set.texts()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn fill(driver: &Embedded, zone: &str, text: &str) {
    let name = Name::absolute(zone).unwrap();
    let contents = file::read(text.as_bytes(), &name, zone).unwrap();
    let is_nameservers = |set: &dns::RecordSet| set.name == name && set.rtype == RecordType::NS;
    let (servers, sets): (Vec<_>, Vec<_>) = contents.sets.into_iter().partition(is_nameservers);
    driver.put_zone(&contents.soa.unwrap(), &servers[0]).await.unwrap();
    driver.change(&name, &dns::Change { put: sets, remove: Vec::new() }).await.unwrap();
}

/// Answers from each version of the zones, as the edge does that the kernel wakes.
async fn follow(service: Arc<Service>, mut feed: Feed) {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    loop {
        ticks.tick().await;
        if let Some(snapshot) = feed.look(&service.snapshot()).unwrap() {
            service.put(snapshot);
        }
    }
}

/// What a client prints; it has to succeed.
pub(crate) async fn run(mut client: Command) -> String {
    tokio::task::spawn_blocking(move || succeed(&mut client)).await.unwrap()
}

/// A question for `name` with this id, of this type, whose answer may have `size` octets; none: without EDNS.
pub(crate) fn question(id: u16, name: &str, rtype: RecordType, size: Option<u16>) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(size.is_some())]);
    message.extend(Name::absolute(name).unwrap().wire());
    message.extend(rtype.number().to_be_bytes());
    message.extend([0, 1]);
    if let Some(size) = size {
        message.extend([0, 0, 41]);
        message.extend(size.to_be_bytes());
        message.extend([0; 6]);
    }
    message
}
