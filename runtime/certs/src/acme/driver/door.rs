//! Owns an address that is listened on only while there is something to offer there.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use effect::{Code, Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

use super::ChallengeKind;
use crate::holder;

/// Validators come from a handful of places; anybody else waits.
const MOST_AT_ONCE: usize = 32;
/// A validator that takes longer has given up.
const LONGEST_VISIT: Duration = Duration::from_secs(15);
/// Accepting fails where descriptors are short; that passes.
const REST: Duration = Duration::from_millis(100);

/// What one visitor gets.
pub(super) type Serve = dyn Fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

pub(super) struct Door {
    kind: ChallengeKind,
    address: SocketAddr,
    serve: Arc<Serve>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    offers: usize,
    listener: Option<JoinHandle<()>>,
}

impl Door {
    pub(super) fn new(kind: ChallengeKind, address: SocketAddr, serve: Arc<Serve>) -> Self {
        Self { kind, address, serve, open: Mutex::default() }
    }

    /// Counts one more offer and listens if it is the first.
    pub(super) async fn enter(&self) -> Result<()> {
        let mut open = self.open.lock().await;
        if open.listener.is_none() {
            let listener = TcpListener::bind(self.address).await.map_err(|error| self.closed(&error))?;
            open.listener = Some(tokio::spawn(listen(listener, self.serve.clone())));
        }
        open.offers += 1;
        Ok(())
    }

    /// Counts one offer less; after the last one the address is free again.
    pub(super) async fn leave(&self) {
        let mut open = self.open.lock().await;
        open.offers = open.offers.saturating_sub(1);
        if open.offers == 0
            && let Some(listener) = open.listener.take()
        {
            listener.abort();
            // It ends by being cancelled: nothing to learn from that.
            let _ = listener.await;
        }
    }

    fn closed(&self, error: &std::io::Error) -> Error {
        let (kind, address) = (self.kind, self.address);
        let message = format!("{kind} needs {address}, which cannot be listened on");
        let told = Error::new(Code::ProofNotOffered, message);
        match error.kind() {
            std::io::ErrorKind::AddrInUse => match holder::of(address) {
                Some(holder) => told.because(format!("{holder} listens there")),
                None => told.because(error),
            },
            std::io::ErrorKind::PermissionDenied => told
                .because(error)
                .hint("ports below 1024 need root or CAP_NET_BIND_SERVICE; or have a proxy pass the requests on to another port"),
            _ => told.because(error),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(listener) = self.open.get_mut().listener.take() {
            listener.abort();
        }
    }
}

async fn listen(listener: TcpListener, serve: Arc<Serve>) {
    let places = Arc::new(Semaphore::new(MOST_AT_ONCE));
    // Visitors go when the door shuts.
    let mut visits = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        while visits.try_join_next().is_some() {}
        let visit = serve(stream);
        visits.spawn(async move {
            let _place = place;
            // Whether a visitor was served in time is the visitor's matter.
            let _ = tokio::time::timeout(LONGEST_VISIT, visit).await;
        });
    }
}
