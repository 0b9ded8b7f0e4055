//! Owns the sockets that the process listens on for plain and encrypted requests, each with its task, and the
//! certificates that they show.

use std::net::SocketAddr;
use std::sync::Arc;

use daemon::identity::{BETWEEN_LOOKS, Identity};
use daemon::listen::{self, Handler};
use effect::{Code, Error, Result};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::handed::Handed;

/// Tasks that end when the process is to.
pub(super) struct Listeners {
    pub(super) tasks: JoinSet<()>,
    /// Sockets that take the place of addresses.
    pub(super) handed: Handed,
    stop: watch::Sender<bool>,
}

impl Listeners {
    pub(super) fn new(handed: Handed) -> Self {
        Self { tasks: JoinSet::new(), handed, stop: watch::Sender::new(false) }
    }

    /// Whether they are to end.
    pub(super) fn shutdown(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Has all of them end, and waits for that.
    pub(super) async fn end(&mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }

    /// Listens on the socket that was handed over as `name`, else on an address; where neither is there, on nothing.
    pub(super) fn listen<H: Handler>(
        &mut self,
        name: &'static str,
        (address, limits): (Option<SocketAddr>, listen::Limits),
        tls: Option<Arc<ServerConfig>>,
        handler: H,
    ) -> Result<Option<SocketAddr>> {
        let Some((listener, bound)) = self.bind(name, address)? else { return Ok(None) };
        let shutdown = self.shutdown();
        self.tasks.spawn(listen::serve(listener, tls, handler, limits, shutdown));
        Ok(Some(bound))
    }

    /// The socket that was handed over as `name`, else one at an address, and the address that it really has.
    pub(super) fn bind(
        &self,
        name: &'static str,
        address: Option<SocketAddr>,
    ) -> Result<Option<(TcpListener, SocketAddr)>> {
        let Some(listener) = self.handed.tcp(name, address)? else { return Ok(None) };
        let bound = listener
            .local_addr()
            .map_err(|error| Error::new(Code::Internal, "a socket has no address").because(error))?;
        Ok(Some((listener, bound)))
    }

    /// Renews the certificate that a listener shows.
    pub(super) fn keep(&mut self, identity: Arc<Identity>) {
        let mut over = self.shutdown();
        self.tasks.spawn(async move {
            while !is_over_after(BETWEEN_LOOKS, &mut over).await {
                if let Err(error) = identity.refresh().await {
                    tracing::warn!(%error, "the certificate of a listener cannot be renewed");
                }
            }
        });
    }
}

/// Whether the process is to end within `time`, or has to already.
pub(super) async fn is_over_after(time: std::time::Duration, over: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => false,
        _ = over.wait_for(|is_over| *is_over) => true,
    }
}
