//! Owns the threads that serve routes: each has a runtime of its own, in which a connection stays to its end.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use effect::{Code, Error, Result};
use routes::proxy::Proxy;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::ports::Serve;

/// Threads, and by what each is told of ports.
type Started = (Vec<mpsc::UnboundedSender<Serve>>, Vec<JoinHandle<()>>);

/// Starts `number` threads. Once they are told of no more ports, each waits until nothing is left, at most for as long as
/// `linger` then says.
pub(super) fn start(
    number: usize,
    proxy: &Arc<Proxy>,
    linger: &watch::Receiver<Duration>,
) -> Result<Started> {
    let failed =
        |error: std::io::Error| Error::new(Code::Internal, "no thread can be started").because(error);
    let mut tell = Vec::new();
    let mut threads = Vec::new();
    for index in 0..number {
        let (sender, ports) = mpsc::unbounded_channel();
        let (proxy, linger) = (proxy.clone(), linger.clone());
        let work = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => LocalSet::new().block_on(&runtime, serve(ports, proxy, linger)),
            Err(error) => tracing::error!(%error, "a thread cannot serve routes"),
        };
        threads.push(thread::Builder::new().name(format!("route-{index}")).spawn(work).map_err(failed)?);
        tell.push(sender);
    }
    Ok((tell, threads))
}

async fn serve(
    mut ports: mpsc::UnboundedReceiver<Serve>,
    proxy: Arc<Proxy>,
    linger: watch::Receiver<Duration>,
) {
    while let Some(Serve { listener, port, over }) = ports.recv().await {
        let proxy = proxy.clone();
        tokio::task::spawn_local(async move {
            let served = match TcpListener::from_std(listener) {
                Ok(listener) => proxy.serve(listener, port, over).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!(%error, port, "a port cannot be served by one of the threads any more");
            }
        });
    }
    let within = *linger.borrow();
    if timeout(within, proxy.idle()).await.is_err() {
        tracing::info!("what still runs over the edge is cut");
    }
}
