//! The edge: the process that holds the sockets and the last version of what is answered from them. It needs no other
//! process of mcrun, and hands its sockets to its successor.
//!
//! Its threads: two that follow the database; two for each core, of which one answers questions for names and one serves
//! routes; and the caller's, which speaks with successors and operators.

pub mod coming;
mod control;
pub(crate) mod follow;
pub mod gateway;
mod kept;
mod metrics;

pub mod sockets;
pub mod supervise;
pub mod traffic;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use dns::server::counts::{Counts, Totals};
use dns::server::notify::Notifier;
use dns::server::{Service, tcp, udp};
use effect::{Code, Error, Result};
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::listen::{self, Handler};
use control::Lines;
pub use control::{Answer, Ask, Client, Standing};
use follow::Names;
use sockets::{Slot, Sockets};
use traffic::{Follower, Routes};

/// For a successor to say that it answers, after it was given the sockets.
const SUCCESSION: Duration = Duration::from_secs(20);
/// For what runs over routes, where the edge is to end and nobody takes over.
const GRACE: Duration = Duration::from_secs(10);
/// More threads than this answer no more questions.
const MOST_THREADS: usize = 8;

/// What an edge is put together from.
pub struct Parts {
    /// The state directory.
    pub state: PathBuf,
    /// This node's name.
    pub node: String,
    /// Where questions are answered.
    pub listen: Vec<SocketAddr>,
    /// Where figures are shown.
    pub metrics: Option<SocketAddr>,
    /// What answers.
    pub service: Arc<Service>,
    /// What tells secondaries of new versions.
    pub notifier: Arc<Notifier>,
    /// What routes are served from; none where there is no address to serve them at.
    pub routes: Option<traffic::Parts>,
    /// What tells one configuration from another: a successor is wanted where it differs.
    pub settings: String,
}

/// The folder of the edge in a state directory.
#[must_use]
pub fn folder(state: &Path) -> PathBuf {
    state.join("edge")
}

/// Why the edge ends.
enum End {
    /// Another one answers.
    Succeeded,
    /// Somebody asked for it.
    Stopped,
}

/// Everything that stays the same while the edge runs.
struct Edge {
    parts: Parts,
    routes: Option<Arc<Routes>>,
    counts: Vec<Arc<Counts>>,
    /// Becomes true once another one answers, or this one is to end.
    over: watch::Sender<bool>,
}

impl Edge {
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.counts.iter().for_each(|counts| counts.add_to(&mut totals));
        totals
    }

    fn metrics(&self) -> String {
        let mut text = metrics::text(&self.totals(), &self.parts.service);
        self.routes.iter().for_each(|routes| text.push_str(&routes.metrics()));
        text
    }
}

/// Answers until a successor does, or `end` resolves. `ready` is told where it answers once it does.
///
/// # Errors
/// `MC-Q020` and `MC-G004` where an address cannot be listened on; nothing was answered then, and a predecessor still
/// answers.
pub async fn run(
    mut parts: Parts,
    end: impl Future<Output = ()>,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<()> {
    let folder = folder(&parts.state);
    std::fs::create_dir_all(&folder).map_err(|error| {
        Error::new(Code::StateUnusable, format!("`{}` cannot be made", folder.display())).because(error)
    })?;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let mut predecessor = control::succeed(&folder).await;
    let is_successor = predecessor.is_some();
    let given_routes = predecessor.as_mut().map(|predecessor| predecessor.sockets.take_routes());
    let given = predecessor.as_ref().map(|predecessor| &predecessor.sockets);
    let sockets = Sockets::open(&parts.listen, threads, given)?;
    let of_routes = parts.routes.take();
    let routes = of_routes.map(|routes| Routes::start(&parts, routes, given_routes, threads)).transpose()?;

    let (over, is_over) = watch::channel(false);
    // What runs over routes is cut by what is recorded, also after another edge has taken over.
    let (all_over, is_all_over) = watch::channel(false);
    let counts = (0..threads).map(|_| Arc::default()).collect();
    let state = parts.state.clone();
    let edge = Arc::new(Edge { parts, routes, counts, over });
    let mut following = vec![follow::start(Names::new(&edge.parts), &state, is_over.clone())?];
    if let Some(routes) = &edge.routes {
        let follower = Follower::new(routes, tokio::runtime::Handle::current());
        following.push(follow::start(follower, &state, is_all_over)?);
    }
    // What is known is answered from before the first question is taken.
    for following in &mut following {
        following.loaded().await;
    }
    let answering = answer(&edge, &sockets, &is_over)?;
    if let (Some(routes), Some(following)) = (&edge.routes, following.last()) {
        routes.began(following.waker())?;
    }
    if let Some(predecessor) = predecessor
        && let Some(mut predecessor) = predecessor.look_again().await
    {
        if let Some(routes) = &edge.routes {
            routes.take_over(predecessor.sockets.take_routes()).await;
        }
        predecessor.relieve().await;
    }
    if let Some(routes) = edge.routes.clone().filter(|_| is_successor) {
        tokio::spawn(async move { routes.hurry().await });
    }
    let (ends, mut ended) = mpsc::channel(1);
    let control = control::listen(&folder)?;
    let addresses: Vec<SocketAddr> = sockets
        .addresses()
        .into_iter()
        .chain(edge.routes.iter().flat_map(|routes| routes.addresses()))
        .collect();
    let lines = Lines::default();
    let controlling = tokio::spawn(control::serve(control, edge.clone(), sockets, ends, lines.clone()));
    let showing = show_metrics(&edge, &is_over).await?;
    let telling = edge.parts.notifier.has_secondaries().then(|| tell(edge.clone()));
    ready(&addresses);
    tokio::pin!(end);
    let why = tokio::select! {
        () = &mut end => End::Stopped,
        why = ended.recv() => why.unwrap_or(End::Stopped),
    };
    let linger = match why {
        End::Succeeded => edge.routes.as_ref().map_or(GRACE, |routes| routes.linger()),
        End::Stopped => GRACE,
    };
    tracing::info!(
        "{}",
        if matches!(why, End::Succeeded) { "another edge answers now" } else { "the edge ends" }
    );
    edge.over.send_replace(true);
    edge.routes.iter().for_each(|routes| routes.leave(linger));
    lines.hang_up();
    if let Some(telling) = telling {
        telling.abort();
    }
    for showing in showing {
        let _ = showing.await;
    }
    for thread in answering {
        // A panic was reported by its thread.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
    if let Some(routes) = &edge.routes {
        tokio::select! {
            () = routes.left() => {}
            () = end, if matches!(why, End::Succeeded) => tracing::info!("the edge ends, with what ran over it"),
        }
    }
    controlling.abort();
    lines.hang_up();
    control::forget(&folder);
    all_over.send_replace(true);
    for following in following {
        following.end().await;
    }
    Ok(())
}

/// Tells secondaries of new versions.
fn tell(edge: Arc<Edge>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let Err(error) = edge.parts.notifier.run().await;
        tracing::error!(%error, "secondaries are told of nothing");
    })
}

/// Starts the threads that answer, each with sockets of its own for every address.
fn answer(edge: &Arc<Edge>, sockets: &Sockets, over: &watch::Receiver<bool>) -> Result<Vec<JoinHandle<()>>> {
    let failed =
        |error: std::io::Error| Error::new(Code::Internal, "no thread can be started").because(error);
    let mut threads = Vec::new();
    for (index, counts) in edge.counts.iter().enumerate() {
        let slots = sockets.of_thread(index).map_err(failed)?;
        let (service, counts, over) = (edge.parts.service.clone(), counts.clone(), over.clone());
        let work = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(answer_on(slots, service, counts, over)),
            Err(error) => tracing::error!(%error, "a thread cannot answer"),
        };
        threads.push(thread::Builder::new().name(format!("dns-{index}")).spawn(work).map_err(failed)?);
    }
    Ok(threads)
}

async fn answer_on(
    slots: Vec<Slot>,
    service: Arc<Service>,
    counts: Arc<Counts>,
    over: watch::Receiver<bool>,
) {
    let tasks: Vec<_> = slots
        .into_iter()
        .map(|slot| {
            let (service, counts, over) = (service.clone(), counts.clone(), over.clone());
            tokio::spawn(async move {
                let served = match slot {
                    Slot::Udp(socket) => udp::serve(socket, service, counts, over).await,
                    Slot::Tcp(listener) => tcp::serve(listener, service, counts, over).await,
                };
                if let Err(error) = served {
                    tracing::error!(%error, "a socket cannot be answered on any more");
                }
            })
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
}

/// Shows figures wherever mcrun.toml says: all of them, at each place.
async fn show_metrics(
    edge: &Arc<Edge>,
    over: &watch::Receiver<bool>,
) -> Result<Vec<tokio::task::JoinHandle<()>>> {
    let of_routes = edge.routes.as_ref().and_then(|routes| routes.metrics_address());
    let of_names = edge.parts.metrics;
    let places = [
        of_names.map(|address| (address, "dns.metrics")),
        of_routes.filter(|address| of_names != Some(*address)).map(|address| (address, "routes.metrics")),
    ];
    let mut showing = Vec::new();
    for (address, key) in places.into_iter().flatten() {
        let listener = listen_for_metrics(address, key).await?;
        let shown = Shown(edge.clone());
        showing.push(tokio::spawn(listen::serve(
            listener,
            None,
            shown,
            listen::Limits::default(),
            over.clone(),
        )));
    }
    Ok(showing)
}

async fn listen_for_metrics(address: SocketAddr, key: &str) -> Result<TcpListener> {
    // A predecessor still has the address while it finishes what it began.
    let mut attempts = 0;
    loop {
        match crate::bind::tcp(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && attempts < 50 => {
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => {
                let message = format!("figures cannot be shown at `{address}` (`{key}`)");
                return Err(Error::new(Code::DnsListen, message).because(error));
            }
        }
    }
}

/// The figures behind their socket.
#[derive(Clone)]
struct Shown(Arc<Edge>);

impl Handler for Shown {
    async fn handle(&self, request: Request<Bytes>, _: SocketAddr) -> Response<Bytes> {
        let mut response = match request.uri().path() {
            "/metrics" => Response::new(Bytes::from(self.0.metrics())),
            _ => {
                let mut response = Response::new(Bytes::from_static(b"figures are at /metrics\n"));
                *response.status_mut() = http::StatusCode::NOT_FOUND;
                response
            }
        };
        let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        response
    }
}
