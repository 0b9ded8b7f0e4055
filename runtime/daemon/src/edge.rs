//! The edge: the process that holds the sockets and the last version of what is answered from them. It needs no other
//! process of mcrun, and hands its sockets to its successor.
//!
//! Its threads: one that follows the database; one for each core, which answers; and the caller's, which speaks with
//! successors and operators.

mod control;
mod follow;
mod kept;
mod metrics;
pub mod sockets;
pub mod supervise;

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
pub use control::{Answer, Ask, Client, Standing};
use sockets::{Slot, Sockets};

/// For a successor to say that it answers, after it was given the sockets.
const SUCCESSION: Duration = Duration::from_secs(20);
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
    /// What tells one configuration from another: a successor is wanted where it differs.
    pub settings: String,
}

/// The folder of the edge in a state directory.
#[must_use]
pub fn folder(state: &Path) -> PathBuf {
    state.join("edge")
}

/// Everything that stays the same while the edge runs.
struct Edge {
    parts: Parts,
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
        metrics::text(&self.totals(), &self.parts.service)
    }
}

/// Answers until a successor does, or `end` resolves. `ready` is told where it answers once it does.
///
/// # Errors
/// `MC-Q020` where an address cannot be listened on; nothing was answered then, and a predecessor still answers.
pub async fn run(
    parts: Parts,
    end: impl Future<Output = ()>,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<()> {
    let folder = folder(&parts.state);
    std::fs::create_dir_all(&folder).map_err(|error| {
        Error::new(Code::StateUnusable, format!("`{}` cannot be made", folder.display())).because(error)
    })?;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let predecessor = control::succeed(&folder).await;
    let given = predecessor.as_ref().map(|predecessor| &predecessor.sockets);
    let sockets = Sockets::open(&parts.listen, threads, given)?;
    let addresses = sockets.addresses();

    let (over, is_over) = watch::channel(false);
    let counts = (0..threads).map(|_| Arc::default()).collect();
    let edge = Arc::new(Edge { parts, counts, over });
    let mut following = follow::start(&edge, is_over.clone())?;
    // What is known is answered from before the first question is taken.
    following.loaded().await;
    let answering = answer(&edge, &sockets, &is_over)?;
    if let Some(predecessor) = predecessor {
        predecessor.relieve().await;
    }
    let (succeeded, mut successors) = mpsc::channel(1);
    let control = control::listen(&folder)?;
    let controlling = tokio::spawn(control::serve(control, edge.clone(), sockets, succeeded));
    let showing = show_metrics(&edge, &is_over).await?;
    let telling = edge.parts.notifier.has_secondaries().then(|| tell(edge.clone()));
    ready(&addresses);
    tokio::pin!(end);
    tokio::select! {
        () = &mut end => tracing::info!("the edge ends"),
        _ = successors.recv() => tracing::info!("another edge answers now"),
    }
    edge.over.send_replace(true);
    controlling.abort();
    if let Some(telling) = telling {
        telling.abort();
    }
    if let Some(showing) = showing {
        let _ = showing.await;
    }
    following.end();
    for thread in answering {
        // A panic was reported by its thread.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
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

async fn show_metrics(
    edge: &Arc<Edge>,
    over: &watch::Receiver<bool>,
) -> Result<Option<tokio::task::JoinHandle<()>>> {
    let Some(address) = edge.parts.metrics else { return Ok(None) };
    // A predecessor still has the address while it finishes what it began.
    let mut attempts = 0;
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && attempts < 50 => {
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => {
                let message = format!("figures cannot be shown at `{address}` (`dns.metrics`)");
                return Err(Error::new(Code::DnsListen, message).because(error));
            }
        }
    };
    let shown = Shown(edge.clone());
    Ok(Some(tokio::spawn(listen::serve(listener, None, shown, listen::Limits::default(), over.clone()))))
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
