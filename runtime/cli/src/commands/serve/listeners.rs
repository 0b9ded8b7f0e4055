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

/// Tasks that end when the process is to.
pub(super) struct Listeners {
    pub(super) tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Listeners {
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), stop: watch::Sender::new(false) }
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

    /// Listens on an address.
    pub(super) async fn listen<H: Handler>(
        &mut self,
        (address, limits): (SocketAddr, listen::Limits),
        tls: Option<Arc<ServerConfig>>,
        handler: H,
    ) -> Result<SocketAddr> {
        let (listener, bound) = bind(address).await?;
        let shutdown = self.shutdown();
        self.tasks.spawn(listen::serve(listener, tls, handler, limits, shutdown));
        Ok(bound)
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

/// A socket at an address, and the address that it really has.
pub(super) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let failed = |error: std::io::Error| {
        let occupied = error.kind() == std::io::ErrorKind::AddrInUse;
        let code = if occupied { Code::PortOccupied } else { Code::Config };
        Error::new(code, format!("`{address}` cannot be listened on")).because(error)
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
