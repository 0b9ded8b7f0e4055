//! The embedded proxy: takes connections, finds their routes, and has them answered by back ends.
//!
//! Owns what goes on between clients and back ends. Leaves binding sockets, files of routes and certificates, and the
//! database to the edge.

mod accept;
mod arrival;
mod challenge;
mod countries;
mod counts;
mod gate;
pub(crate) mod header;
mod http;
mod keeper;
mod kept;
mod log;
mod metrics;
mod outward;
mod pace;
mod places;
mod pool;
mod probe;
mod rates;
pub(crate) mod receive;
mod rewind;
mod served;
mod shown;
pub(crate) mod table;
mod tally;
mod through;
mod turn;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use effect::{Code, Error, Result};
use journal::Clock;
use tokio::sync::watch;

use crate::driver::{Drained, Figures, Material, Standing};
use crate::route::{Backend, Key};
use crate::settings::Settings;

pub use self::challenge::{Challenge, Proof};
use self::challenge::{Challenges, Ready};
use self::countries::Countries;
pub use self::http::fuzz::http_head;
use self::keeper::Keeper;
use self::kept::Kept;
use self::log::Log;
use self::places::Places;
use self::served::Served;
use self::shown::Wardrobe;
use self::table::Table;

/// How often it is seen whether the file of countries was changed.
const REFRESH: Duration = Duration::from_secs(5);

/// The proxy. There is one in a process, and every thread that serves has it.
pub struct Proxy {
    settings: Settings,
    clock: Arc<dyn Clock>,
    table: ArcSwap<Table>,
    changing: Mutex<Changing>,
    challenges: Challenges,
    countries: Option<Arc<Countries>>,
    log: Option<Arc<Log>>,
    places: Places,
    over: watch::Sender<bool>,
    keeper: Keeper,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Proxy").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What runs holds its route, and a route what is to run: they let go of each other here.
impl Drop for Proxy {
    fn drop(&mut self) {
        self.changing().kept.values().for_each(|kept| kept.retire());
    }
}

/// What only those who change routes look at, one after the other.
#[derive(Debug)]
struct Changing {
    kept: HashMap<Key, Arc<Kept>>,
    /// Routes that were removed, while something is under way there.
    gone: Vec<Arc<Kept>>,
    wardrobe: Wardrobe,
}

impl Proxy {
    /// A proxy without a route.
    ///
    /// # Errors
    /// `MC-U002` where the file of countries cannot be read.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let log = settings.access_log.as_ref().map(|log| Log::start(log, Arc::clone(&clock))).transpose()?;
        let countries = settings.geoip.clone().map(Countries::open).transpose()?;
        let keeper = Keeper::start().map_err(|error| {
            Error::new(Code::Config, "the proxy's background thread cannot be started").because(error)
        })?;
        if let Some(countries) = &countries {
            let countries = Arc::downgrade(countries);
            keeper.spawn(async move {
                while let Some(countries) = countries.upgrade() {
                    countries.refresh();
                    drop(countries);
                    tokio::time::sleep(REFRESH).await;
                }
            });
        }
        let wardrobe = Wardrobe::new()?;
        Ok(Arc::new(Self {
            settings: settings.clone(),
            clock,
            table: ArcSwap::default(),
            changing: Mutex::new(Changing { kept: HashMap::new(), gone: Vec::new(), wardrobe }),
            challenges: Challenges::default(),
            countries,
            log,
            places: Places::new(settings.connections),
            over: watch::Sender::new(false),
            keeper,
        }))
    }

    /// What mcrun.toml says.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The routes as they are now.
    pub(crate) fn table(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// What is answered to a certificate authority that asks for `token` (http-01).
    pub(crate) fn proof(&self, token: &str) -> Option<String> {
        self.challenges.http(token)
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a route, in the place of one with the same key; with its certificate, where it names one. New requests take
    /// it at once. What runs over back ends that it no longer has ends by itself or, after its `drain`, is cut.
    ///
    /// # Errors
    /// `MC-G002` where it cannot be served as it is; what was served stays.
    pub fn put(&self, standing: Standing, certificate: Option<Material>) -> Result<()> {
        let key = standing.route.key();
        let drain = standing.route.drain.0;
        let mut changing = self.changing();
        let shown = match (&standing.route.cert, certificate) {
            (Some(_), Some(material)) => Some(changing.wardrobe.show(&material)?),
            _ => None,
        };
        if let Some(shown) = &shown
            && let Some(flaw) = shown.flaw(&key.hostname, self.clock.now())
        {
            tracing::warn!(route = %key, flaw, "the certificate is shown, and clients will refuse it");
        }
        let known = changing.kept.get(&key).cloned();
        let kept = known.unwrap_or_else(|| Arc::new(Kept::new(key.clone(), self.log.clone())));
        let served = Served::new(standing, shown, Arc::clone(&kept), self.countries.clone())?;
        let table = self.table.load_full();
        table.admit(&served)?;
        let served = Arc::new(served);
        let gone = kept.take(&served);
        self.table.store(Arc::new(table.with(Arc::clone(&served))));
        for member in gone {
            let kept = Arc::clone(&kept);
            self.keeper.spawn(async move { kept.see_off(&member, drain).await });
        }
        let is_probed = served.standing.route.health.is_some();
        kept.probed_by(is_probed.then(|| self.keeper.spawn(probe::watch(Arc::clone(&kept)))));
        changing.kept.insert(key, kept);
        Ok(())
    }

    /// No longer serves a route: new requests do not find it. What runs over it ends by itself or, after its `drain`, is
    /// cut.
    pub fn remove(&self, key: &Key) {
        let mut changing = self.changing();
        self.table.store(Arc::new(self.table.load().without(key)));
        changing.gone.retain(|kept| kept.active.count() > 0);
        let Some(kept) = changing.kept.remove(key) else { return };
        let within = kept.current().map_or(Duration::ZERO, |served| served.standing.route.drain.0);
        kept.retire();
        changing.gone.push(Arc::clone(&kept));
        self.keeper.spawn(async move {
            kept.drain(None, within).await;
        });
    }

    /// The keys of the routes that are served, sorted.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<_> = self.changing().kept.keys().cloned().collect();
        keys.sort();
        keys
    }

    /// The ports at which routes are served.
    pub fn ports(&self) -> BTreeSet<u16> {
        self.table().ports()
    }

    /// The route with this key, as it is served.
    pub fn standing(&self, key: &Key) -> Option<Standing> {
        let kept = self.changing().kept.get(key).cloned();
        kept?.current().map(|served| served.standing.clone())
    }

    /// Answers a certificate authority. A proof that cannot be shown is no more than a warning: the authority says so too.
    pub fn offer(&self, challenge: Challenge) {
        let ready = match challenge.proof {
            Proof::Http01 { token, key_authorization } => Ready::Http01 { token, key_authorization },
            Proof::TlsAlpn01 { hostname, material } => match self.changing().wardrobe.prove(&material) {
                Ok(config) => Ready::TlsAlpn01 { hostname, config },
                Err(error) => {
                    tracing::warn!(hostname, %error, "a certificate authority cannot be answered");
                    return;
                }
            },
        };
        if !self.challenges.offer(challenge.id, ready) {
            tracing::warn!("a certificate authority cannot be answered: too many challenges are open");
        }
    }

    /// No longer answers the challenge with this id.
    pub fn withdraw(&self, id: &str) {
        self.challenges.withdraw(id);
    }

    /// What is under way on a route: of versions that are served, and of those that were removed.
    fn of(&self, key: &Key) -> (Option<Arc<Kept>>, Vec<Arc<Kept>>) {
        let changing = self.changing();
        let gone = changing.gone.iter().filter(|kept| kept.key == *key).cloned().collect();
        (changing.kept.get(key).cloned(), gone)
    }

    /// Resolves when nothing runs any more over back ends that the route no longer has; of a route that was removed, when
    /// nothing runs over it.
    pub async fn settled(&self, key: &Key) {
        let (kept, gone) = self.of(key);
        for kept in gone {
            kept.active.none().await;
        }
        if let Some(kept) = kept {
            kept.settled().await;
        }
    }

    /// Waits until nothing is under way on a route, or at one of its back ends, and cuts what is left after `within`.
    pub async fn drain(&self, key: &Key, backend: Option<Backend>, within: Duration) -> Option<Drained> {
        let (kept, mut gone) = self.of(key);
        let kept = kept.or_else(|| gone.pop())?;
        match backend.map(|backend| kept.member(backend.0)) {
            None => Some(kept.drain(None, within).await),
            Some(Some(member)) => Some(kept.drain(Some(&member), within).await),
            // One that the route does not have any more, and where nothing is left.
            Some(None) => Some(Drained::default()),
        }
    }

    /// The figures of every route, sorted by key.
    pub fn figures(&self) -> Vec<Figures> {
        self.served().iter().map(|kept| kept.figures()).collect()
    }

    fn served(&self) -> Vec<Arc<Kept>> {
        let mut kept: Vec<_> = self.changing().kept.values().cloned().collect();
        kept.sort_by(|one, other| one.key.cmp(&other.key));
        kept
    }

    /// Resolves when no connection is left.
    pub async fn idle(&self) {
        self.places.taken().none().await;
    }

    /// Has connections end after what is under way: another process serves new ones.
    pub fn stop_keeping(&self) {
        self.over.send_replace(true);
    }

    /// What TLS clients are shown that speak to a certificate authority's challenge.
    fn proves(&self, server_name: Option<&str>) -> Option<Arc<rustls::ServerConfig>> {
        self.challenges.tls(server_name?)
    }

    fn is_from(networks: &[ipnet::IpNet], address: SocketAddr) -> bool {
        let address = address.ip().to_canonical();
        networks.iter().any(|network| network.contains(&address))
    }
}
