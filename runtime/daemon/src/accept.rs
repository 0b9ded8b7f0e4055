//! Owns taking connections at a socket: how many there are at once, and how they end. What is said over one is left to
//! whoever listens.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use certs::certificate::Facts;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a refused peer to read why, and how much of what it still says is read.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LARGEST: u64 = 1 << 20;
/// After a failure that is not of one connection, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket of either kind.
pub(crate) trait Listener {
    /// What a connection is.
    type Stream;

    /// The next connection.
    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        self.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

/// Has `talk` talk over each connection, over `most` at once, until `over` becomes true; what is left after `grace` is cut.
/// The socket itself comes back for whoever has to take it away.
pub(crate) async fn each<L: Listener, T: Future<Output = ()> + Send + 'static>(
    listener: L,
    (most, grace): (usize, Duration),
    talk: impl Fn(L::Stream, watch::Receiver<bool>) -> T,
    over: watch::Receiver<bool>,
    closed: impl FnOnce(L),
) {
    let places = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    let mut end = over.clone();
    loop {
        // What has ended is let go of, so that the set does not grow.
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, poll_fn(|context| listener.poll(context)).await)
        };
        let (place, accepted) = tokio::select! {
            // An error says that nobody could say it any more.
            _ = end.wait_for(|is_over| *is_over) => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok(stream) => {
                let talking = talk(stream, over.clone());
                connections.spawn(async move {
                    talking.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // New peers learn at once that nobody listens any more.
    closed(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, finished).await.is_err() {
        tracing::warn!("calls were cut when the time of grace was over");
        connections.shutdown().await;
    }
}

/// One connection by mutual TLS, and the names that the peer's certificate bears. Whoever is refused gets to know why.
pub(crate) async fn welcome(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> Option<(TlsStream<TcpStream>, Vec<String>)> {
    // Answers are small and whole: waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let peer: Option<SocketAddr> = stream.peer_addr().ok();
    let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
    let stream = match timeout(HANDSHAKE, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, mut stream))) => {
            tracing::info!(?peer, %error, "a caller was refused");
            // Closing with something unread would take the reason back from the wire.
            let _ = stream.shutdown().await;
            let mut rest = stream.take(LARGEST);
            let _ = timeout(LAST_WORDS, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
            return None;
        }
        Err(_) => {
            tracing::debug!(?peer, "a TLS handshake took too long");
            return None;
        }
    };
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let facts = leaf.and_then(|leaf| Facts::of(leaf).ok());
    let names = facts.into_iter().flat_map(|facts| facts.names).map(|name| name.to_string()).collect();
    Some((stream, names))
}
