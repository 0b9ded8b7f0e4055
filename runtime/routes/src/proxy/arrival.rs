//! Owns what is known of a connection when its requests are read.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::Proxy;
use super::places::Place;

/// A connection whose requests are about to be read.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) proxy: Arc<Proxy>,
    /// Whose it is, by what a trusted proxy says where one is between.
    pub(crate) client: SocketAddr,
    /// Where it came to.
    pub(crate) local: SocketAddr,
    /// The port whose routes it is for.
    pub(crate) port: u16,
    /// The name that the client asked for in its ClientHello.
    pub(crate) server_name: Option<Box<str>>,
    /// Whether it came by TLS.
    pub(crate) secure: bool,
    /// Whether what it says of whom it came from is believed: `x-forwarded-for`, `x-forwarded-proto`.
    pub(crate) trusted: bool,
    /// True once it must not be kept for further requests.
    pub(crate) over: watch::Receiver<bool>,
    pub(super) _place: Place,
}

impl Arrival {
    /// Resolves when the connection must not be kept for further requests.
    pub(crate) async fn is_over(&self) {
        let mut over = self.over.clone();
        if over.wait_for(|over| *over).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
