//! Owns serving routes from the edge: the proxy gets what is recorded, ports are listened at as routes take them, and
//! whoever changes a route learns when it is served.

mod follow;
mod kept;
mod known;
mod ports;
mod threads;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use certs::acme::driver as acme;
use effect::{Code, Error, Result, Sealer};
use journal::Clock;
use routes::embedded::Proof;
use routes::proxy::{self, Proxy};
use routes::{Drained, Key, Material, Settings, Standing};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

pub(super) use follow::Follower;

use super::control::{Answer, Ask};
use super::follow::Waker;
use super::gateway::ToEdge;
use super::sockets::Place;
use known::{Known, Touched};
use ports::Ports;

/// For how long, after a predecessor was relieved, what it held is tried, and how often.
const HURRIED: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(20);
/// Between looks whether a successor listens.
const SOON: Duration = Duration::from_millis(2);
/// Beyond the time that another edge was given, for its answer.
const BEYOND: Duration = Duration::from_secs(1);

/// What is put together for routes.
pub struct Parts {
    /// `[routes]`.
    pub settings: Settings,
    /// What opens the keys of certificates; none where its own key cannot be read: routes with certificates then wait.
    pub sealer: Option<Arc<Sealer>>,
    /// What tells how late it is.
    pub clock: Arc<dyn Clock>,
}

/// The routes of an edge.
pub(super) struct Routes {
    state: PathBuf,
    folder: PathBuf,
    node: String,
    parts: Parts,
    proxy: Arc<Proxy>,
    known: Mutex<Known>,
    ports: Mutex<Ports>,
    waker: OnceLock<Waker>,
    linger: watch::Sender<Duration>,
    /// Whether another edge serves in the place of this one.
    is_left: AtomicBool,
    /// Whether what could not be served is tried at each look.
    is_hurried: AtomicBool,
    /// Whether ports were left to a successor that did not come: the next look opens them.
    is_back: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Routes {
    /// What serves routes on so many threads, with the sockets that a predecessor gave. Nothing is served yet.
    ///
    /// # Errors
    /// `MC-U002` where the settings cannot be followed, `MC-G004` where the port for plain requests cannot be listened at.
    pub(super) fn start(
        edge: &super::Parts,
        parts: Parts,
        given: Option<Vec<(SocketAddr, OwnedFd)>>,
        threads: usize,
    ) -> Result<Arc<Self>> {
        let proxy = Proxy::new(&parts.settings, parts.clock.clone())?;
        let linger = watch::Sender::new(parts.settings.linger.0);
        let (tell, threads) = threads::start(threads, &proxy, &linger.subscribe())?;
        let mut ports = Ports::new(&parts.settings.addresses, given, tell);
        if let Some(port) = parts.settings.http {
            ports.open(port)?;
        }
        Ok(Arc::new(Self {
            state: edge.state.clone(),
            folder: super::folder(&edge.state),
            node: edge.node.clone(),
            parts,
            proxy,
            known: Mutex::default(),
            ports: Mutex::new(ports),
            waker: OnceLock::new(),
            linger,
            is_left: AtomicBool::new(false),
            is_hurried: AtomicBool::new(false),
            is_back: AtomicBool::new(false),
            threads: Mutex::new(threads),
        }))
    }

    /// What was known at the start is served: from now on connections are accepted.
    pub(super) fn began(&self, waker: Waker) -> Result<()> {
        // It is set once, at the start.
        let _ = self.waker.set(waker);
        let mut ports = locked(&self.ports);
        ports.forget_given();
        self.parts.settings.http.map_or(Ok(()), |port| ports.serve(port))
    }

    /// Serves at what a predecessor has opened since it gave its sockets first.
    pub(super) async fn take_over(&self, opened: Vec<(SocketAddr, OwnedFd)>) {
        locked(&self.ports).give(opened);
        self.try_now().await;
        locked(&self.ports).forget_given();
    }

    /// Tries for a while, and often, what could not be served: a predecessor closes its last ports in these moments.
    pub(super) async fn hurry(&self) {
        locked(&self.ports).succeeded();
        let until = Instant::now() + HURRIED;
        while Instant::now() < until && !self.known().waiting().is_empty() {
            self.try_now().await;
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// Leaves it to a successor, or no longer, to listen at ports of new routes.
    pub(super) fn open_no_more(&self, leaves: bool) {
        let mut ports = locked(&self.ports);
        ports.leave_open(leaves);
        self.is_back.store(!leaves && !ports.are_over(), Ordering::Relaxed);
    }

    /// Waits, not for long, until a successor listens at a port that is left to it.
    async fn is_listened_at(&self, port: u16) {
        if locked(&self.ports).is_open(port) {
            return;
        }
        let until = Instant::now() + HURRIED;
        for address in &self.parts.settings.addresses {
            while Instant::now() < until && TcpStream::connect((*address, port)).await.is_err() {
                tokio::time::sleep(SOON).await;
            }
        }
    }

    async fn try_now(&self) {
        self.is_hurried.store(true, Ordering::Relaxed);
        // That the database cannot be read is told by whoever reads it.
        let _ = self.look().await;
        self.is_hurried.store(false, Ordering::Relaxed);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        locked(&self.known)
    }

    /// Has what was touched served as it is recorded.
    fn realize(&self, touched: &Touched) {
        for id in &touched.proofs {
            if let Err(error) = self.offer(id) {
                tracing::error!(%error, id, "a proof for a certificate authority cannot be offered");
            }
        }
        for key in &touched.routes {
            let problem = self.serve(key).err();
            let is_news = self.known().tell(key, problem.clone());
            // What is tried again and again is told once.
            if let Some(error) = problem.filter(|_| is_news) {
                tracing::error!(%error, route = %key, "a route cannot be served as it is recorded");
            }
            self.close_unwanted(key.listen);
        }
    }

    fn serve(&self, key: &Key) -> Result<()> {
        let (standing, material) = {
            let known = self.known();
            let Some(row) = known.get(key) else {
                drop(known);
                self.proxy.remove(key);
                return Ok(());
            };
            let standing = row.read.clone()?;
            let material = known.material(&standing, self.parts.sealer.as_deref())?;
            (standing, material)
        };
        if !self.parts.settings.may_serve(key.listen) {
            let message = format!("port {} is left out by `ports` under [routes]", key.listen);
            return Err(Error::new(Code::RoutePort, message));
        }
        locked(&self.ports).open(key.listen)?;
        let put = self.proxy.put(standing, material);
        let mut ports = locked(&self.ports);
        match put {
            Ok(()) => ports.serve(key.listen),
            Err(error) => {
                ports.close_unserved(key.listen);
                Err(error)
            }
        }
    }

    fn close_unwanted(&self, port: u16) {
        if self.parts.settings.http != Some(port) && !self.known().has_port(port) {
            locked(&self.ports).close(port);
        }
    }

    fn offer(&self, id: &str) -> Result<()> {
        let offered = self.known().proof(id).cloned();
        let now = self.parts.clock.now();
        match offered {
            Some((proof, until)) if until > now => {
                self.proxy.offer(proxy::Challenge { id: id.to_owned(), proof: shown(proof)? });
            }
            _ => self.proxy.withdraw(id),
        }
        Ok(())
    }

    /// Answers what is asked about routes.
    ///
    /// # Errors
    /// Why it cannot be done.
    pub(super) async fn answer(&self, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::RouteAdmit { route } => self.admit(&route).map(|()| Answer::Done),
            Ask::RouteSettle { ref key, ref route, within } => {
                let within = Duration::from_millis(within);
                let before = self.ask_those_before(&ask, within);
                let (settled, _) = tokio::join!(self.settle(key, route.as_deref(), within), before);
                settled.map(|()| Answer::Done)
            }
            Ask::RouteProof { id, is_offered } => {
                self.look().await?;
                if self.known().proof(&id).is_some() == is_offered {
                    return Ok(Answer::Done);
                }
                Err(overtaken(&format!("the proof `{id}`")))
            }
            Ask::RouteDrain { ref key, backend, within } => {
                let within = Duration::from_millis(within);
                let before = self.ask_those_before(&ask, within);
                let (own, before) = tokio::join!(self.proxy.drain(key, backend, within), before);
                let drained = own.map(|own| before.iter().fold(own, together));
                Ok(Answer::Drained { drained })
            }
            Ask::RouteFigures => {
                let figures = serde_json::to_string(&self.proxy.figures()).map_err(|error| {
                    Error::new(Code::Internal, "figures cannot be written").because(error)
                })?;
                Ok(Answer::Figures { figures })
            }
            _ => Err(Error::new(Code::Internal, "this is no question about routes")),
        }
    }

    /// The same of edges before this one, over which something still runs. They ask nobody further.
    async fn ask_those_before(&self, ask: &Ask, within: Duration) -> Vec<Answer> {
        if self.is_left.load(Ordering::Relaxed) {
            return Vec::new();
        }
        ToEdge::ask_lingering(&self.folder, ask, within.saturating_add(BEYOND)).await
    }

    fn admit(&self, standing: &Standing) -> Result<()> {
        let port = standing.route.listen;
        if !self.parts.settings.may_serve(port) {
            let message = format!("port {port} is left out by `ports` under [routes]");
            return Err(Error::new(Code::RoutePort, message).hint("start `mcrun serve` anew after a change"));
        }
        locked(&self.ports).probe(port)
    }

    /// Has what was written until now served.
    async fn look(&self) -> Result<()> {
        match self.waker.get() {
            Some(waker) => waker.look().await,
            None => Err(Error::new(Code::ProxyUnavailable, "the edge begins").retryable()),
        }
    }

    async fn settle(&self, key: &Key, wanted: Option<&Standing>, within: Duration) -> Result<()> {
        self.look().await?;
        {
            let known = self.known();
            let row = known.get(key);
            if let Some(problem) = row.and_then(|row| row.problem.clone()) {
                return Err(problem);
            }
            if row.and_then(|row| row.read.as_ref().ok()) != wanted {
                return Err(overtaken(&format!("the route `{key}`")));
            }
        }
        if wanted.is_some() {
            self.is_listened_at(key.listen).await;
        }
        timeout(within, self.proxy.settled(key)).await.map_err(|_| {
            let message = format!("the route `{key}` is served, and what ran over it before still does");
            Error::new(Code::ProxyUnavailable, message).retryable()
        })
    }

    /// Where routes are served.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        locked(&self.ports).addresses()
    }

    /// Every socket, for a successor.
    pub(super) fn sockets(&self) -> io::Result<Vec<(Place, OwnedFd)>> {
        locked(&self.ports).sockets()
    }

    pub(super) fn metrics(&self) -> String {
        self.proxy.metrics()
    }

    pub(super) fn metrics_address(&self) -> Option<SocketAddr> {
        self.parts.settings.metrics
    }

    /// Accepts nothing more, has clients go elsewhere, and lets what runs go on for `linger`.
    pub(super) fn leave(&self, linger: Duration) {
        self.is_left.store(true, Ordering::Relaxed);
        self.linger.send_replace(linger);
        locked(&self.ports).end();
        self.proxy.stop_keeping();
    }

    /// How long what runs may go on after a successor answers.
    pub(super) fn linger(&self) -> Duration {
        self.parts.settings.linger.0
    }

    /// Waits until nothing runs any more.
    pub(super) async fn left(&self) {
        let threads = std::mem::take(&mut *locked(&self.threads));
        for thread in threads {
            // A panic was reported by its thread.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Both as one.
fn together(own: Drained, answer: &Answer) -> Drained {
    match answer {
        Answer::Drained { drained: Some(other) } => {
            Drained { ended: own.ended + other.ended, cut: own.cut + other.cut }
        }
        _ => own,
    }
}

fn overtaken(what: &str) -> Error {
    Error::new(Code::ProxyRefused, format!("{what} was changed by others meanwhile")).retryable()
}

/// A proof as the proxy shows it.
fn shown(proof: Proof) -> Result<proxy::Proof> {
    match proof {
        Proof::Http { token, key_authorization } => Ok(proxy::Proof::Http01 { token, key_authorization }),
        Proof::TlsAlpn { hostname, token, key_authorization } => {
            let name: certs::Name = hostname.parse()?;
            let hostname = acme::server_name(&name);
            let kind = acme::ChallengeKind::TlsAlpn;
            let (certificate, key) =
                acme::proof_certificate(&acme::Challenge { kind, name, token, key_authorization })?;
            Ok(proxy::Proof::TlsAlpn01 { hostname, material: Material { chain: vec![certificate], key } })
        }
    }
}
