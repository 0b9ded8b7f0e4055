//! Owns one request (one connection with `l4`) from its admission to its end: its back end, its counts, its line in the log.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::log::{Entry, Line};
use super::pool::{Chosen, Member};
use super::served::Served;
use super::tally::Counted;

/// A request that was admitted. It is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    under_way: Arc<UnderWay>,
    _counted: Counted,
}

#[derive(Debug)]
struct UnderWay {
    served: Arc<Served>,
    client: IpAddr,
    since: Instant,
    cuts: u64,
    at: Mutex<Option<(Arc<Member>, u64)>>,
    status: AtomicU16,
    received: AtomicU64,
    sent: AtomicU64,
}

impl UnderWay {
    fn is_cut(&self) -> bool {
        if self.served.kept.cuts() != self.cuts {
            return true;
        }
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.as_ref().is_some_and(|(member, cuts)| member.cuts() != *cuts)
    }
}

impl Turn {
    pub(crate) fn new(served: Arc<Served>, client: IpAddr, counted: Counted) -> Self {
        served.kept.counts.requests.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay {
            cuts: served.kept.cuts(),
            served,
            client,
            since: Instant::now(),
            at: Mutex::new(None),
            status: AtomicU16::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        };
        Self { under_way: Arc::new(under_way), _counted: counted }
    }

    /// The version of the route that was served when it was admitted.
    pub(crate) fn served(&self) -> &Arc<Served> {
        &self.under_way.served
    }

    /// The next back end of those not in `tried`: the one with the fewest under way that is well, or any where none is.
    pub(crate) fn choose(&self, tried: &[SocketAddr]) -> Option<Chosen> {
        let chosen = self.under_way.served.kept.choose(tried)?;
        let at = (Arc::clone(chosen.member()), chosen.member().cuts());
        *self.under_way.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        Some(chosen)
    }

    /// Resolves when everything of it must be dropped, because what it runs over has gone and had time enough.
    pub(crate) fn cut(&self) -> impl Future<Output = ()> + Send + use<> {
        let under_way = Arc::clone(&self.under_way);
        async move { under_way.served.kept.wait_for_cut(|| under_way.is_cut()).await }
    }

    /// Octets from the client.
    pub(crate) fn received(&self, octets: u64) {
        self.under_way.received.fetch_add(octets, Ordering::Relaxed);
        self.under_way.served.kept.counts.received.fetch_add(octets, Ordering::Relaxed);
    }

    /// Octets to the client.
    pub(crate) fn sent(&self, octets: u64) {
        self.under_way.sent.fetch_add(octets, Ordering::Relaxed);
        self.under_way.served.kept.counts.sent.fetch_add(octets, Ordering::Relaxed);
    }

    /// An answer begins.
    pub(crate) fn answered(&self, status: u16) {
        self.under_way.status.store(status, Ordering::Relaxed);
        self.under_way.served.kept.counts.answered(status, self.under_way.since.elapsed());
    }

    /// The proxy itself had to answer, or to give it up.
    pub(crate) fn failed(&self) {
        self.under_way.served.kept.counts.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// It became a tunnel, and is one until what is returned is dropped.
    pub(crate) fn tunnel(&self) -> Tunnel {
        self.under_way.served.kept.counts.tunnels.fetch_add(1, Ordering::Relaxed);
        Tunnel(Arc::clone(&self.under_way.served))
    }

    /// Writes it to the log of requests, where there is one.
    pub(crate) fn log(&self, line: Line<'_>) {
        let under_way = &*self.under_way;
        let Some(log) = &under_way.served.kept.log else { return };
        let status = under_way.status.load(Ordering::Relaxed);
        let at = under_way.at.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(&Entry {
            route: &under_way.served.key,
            client: under_way.client,
            status: (status != 0).then_some(status),
            backend: at.as_ref().map(|(member, _)| member.address),
            received: under_way.received.load(Ordering::Relaxed),
            sent: under_way.sent.load(Ordering::Relaxed),
            micros: u64::try_from(under_way.since.elapsed().as_micros()).unwrap_or(u64::MAX),
            line,
        });
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.under_way.served.kept.counts.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A tunnel that is open.
#[derive(Debug)]
pub(crate) struct Tunnel(Arc<Served>);

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.kept.counts.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}
