//! Owns the server under test: zones in a database, answered on loopback over UDP and TCP as the edge does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use dns::embedded::{Embedded, Feed, Store};
use dns::server::beyond::Outcome;
use dns::server::notify::Notifier;
use dns::server::signed::{Key, KeySettings, Keys};
use dns::server::transfer::ZoneSettings;
use dns::server::{Beyond, Snapshot};
use dns::{Change, Driver, Name, RecordSet, RecordType, Zone};
use journal::{Clock, Journal, SystemClock, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Mutex;

use crate::program::port;

pub(crate) const ZONE: &str = "mcrun.test";
/// 32 octets.
pub(crate) const SECRET: &str = "bWNydW4gdGVzdCBrZXkgb2YgMzIgb2N0ZXRzLCBvaw==";

/// A clock that is `skew` milliseconds ahead.
struct Skewed(i64);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0)
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) driver: Embedded,
    pub(crate) notifier: Arc<Notifier>,
    inner: Arc<Inner>,
    _folder: tempfile::TempDir,
}

struct Inner {
    beyond: Beyond,
    snapshot: ArcSwap<Snapshot>,
    feed: Mutex<Feed>,
    notifier: Arc<Notifier>,
}

#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) zones: String,
    pub(crate) skew: i64,
    pub(crate) without_store: bool,
}

const KEYS: &str = "
[all]
secret = \"dns/all\"
write = [\"mcrun.test/*\"]
transfer = [\"mcrun.test\"]
[all512]
secret = \"dns/all\"
algorithm = \"hmac-sha512\"
write = [\"mcrun.test/*\"]
[challenge]
secret = \"dns/challenge\"
write = [\"mcrun.test/_acme-challenge.*\"]
";

pub(crate) fn keys() -> Keys {
    let settings: BTreeMap<String, KeySettings> = toml::from_str(KEYS).unwrap();
    let keys = settings.iter().map(|(name, settings)| Key::new(name, settings, SECRET.as_bytes()).unwrap());
    Keys::new(keys.collect()).unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

pub(crate) fn set(at: &str, rtype: &str, values: &[&str]) -> RecordSet {
    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    RecordSet::parse(&name(ZONE), at, rtype.parse().unwrap(), 300, &values).unwrap()
}

impl Server {
    pub(crate) async fn start(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(Skewed(setup.skew));
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let driver = Embedded::new(Store::new(journal, "rift"), Vec::new());
        let soa = Zone {
            zone: name(ZONE),
            serial: 1,
            primary: name("ns.mcrun.test"),
            admin: name("hostmaster.mcrun.test"),
            refresh: 3600,
            retry: 600,
            expire: 604_800,
            minimum: 300,
        };
        driver.put_zone(&soa, &set("@", "NS", &["ns"])).await.unwrap();
        let zones: BTreeMap<String, ZoneSettings> = toml::from_str(&setup.zones).unwrap();
        let keys = Arc::new(keys());
        let notifier = Arc::new(Notifier::new(&zones, &keys, clock.clone()).unwrap());
        let store = (!setup.without_store).then(|| driver.clone());
        let inner = Arc::new(Inner {
            beyond: Beyond::new(keys, &zones, store, clock, false).unwrap(),
            snapshot: ArcSwap::default(),
            feed: Mutex::new(Feed::open(folder.path(), "rift").unwrap()),
            notifier: notifier.clone(),
        });
        let address = port();
        let udp = UdpSocket::bind(address).await.unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        tokio::spawn(inner.clone().serve_udp(Arc::new(udp)));
        tokio::spawn(inner.clone().serve_tcp(tcp));
        let server = Self { address, driver, notifier, inner, _folder: folder };
        server.change(vec![set("ns", "A", &["192.0.2.53"])]).await;
        server
    }

    /// Puts sets into the zone, which is answered so on return.
    pub(crate) async fn change(&self, sets: Vec<RecordSet>) {
        self.driver.change(&name(ZONE), &Change { put: sets, remove: Vec::new() }).await.unwrap();
        self.inner.look().await;
    }

    pub(crate) async fn texts(&self, at: &str, rtype: RecordType) -> Vec<String> {
        let at = Name::within(at, &name(ZONE)).unwrap();
        self.driver.get(&name(ZONE), &at, rtype).await.unwrap().map(|set| set.texts()).unwrap_or_default()
    }

    pub(crate) async fn serial(&self) -> u32 {
        self.driver.zone(&name(ZONE)).await.unwrap().unwrap().serial
    }
}

impl Inner {
    async fn look(&self) {
        let mut feed = self.feed.lock().await;
        if let Some(snapshot) = feed.look(&self.snapshot.load()).unwrap() {
            self.notifier.look(&snapshot);
            self.snapshot.store(Arc::new(snapshot));
        }
    }

    async fn answer(&self, message: &[u8], from: SocketAddr, is_stream: bool) -> Outcome {
        let outcome = self.beyond.answer(&self.snapshot.load_full(), message, from.ip(), is_stream).await;
        self.look().await;
        outcome
    }

    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut message = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut message).await {
            let (inner, socket, message) = (self.clone(), socket.clone(), message[..length].to_vec());
            tokio::spawn(async move {
                if let Outcome::One(answer) = inner.answer(&message, from, false).await {
                    socket.send_to(&answer, from).await.unwrap();
                }
            });
        }
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, from)) = listener.accept().await {
            tokio::spawn(self.clone().serve_stream(stream, from));
        }
    }

    /// Ends with the connection.
    async fn serve_stream(self: Arc<Self>, mut stream: TcpStream, from: SocketAddr) -> Option<()> {
        loop {
            let length = stream.read_u16().await.ok()?;
            let mut message = vec![0; usize::from(length)];
            stream.read_exact(&mut message).await.ok()?;
            let answers: Box<dyn Iterator<Item = Vec<u8>> + Send> =
                match self.answer(&message, from, true).await {
                    Outcome::Silence => return None,
                    Outcome::One(answer) => Box::new(std::iter::once(answer)),
                    Outcome::Many(answers) => answers,
                };
            for answer in answers {
                stream.write_u16(u16::try_from(answer.len()).unwrap()).await.ok()?;
                stream.write_all(&answer).await.ok()?;
            }
        }
    }
}
