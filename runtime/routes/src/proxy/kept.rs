//! Owns what the versions of a route have in common: its back ends, its counts, and what is under way.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::counts::Counts;
use super::gate::Gate;
use super::log::Log;
use super::pool::{self, Chosen, Member};
use super::rates::Rates;
use super::served::Served;
use super::tally::Tally;
use crate::driver::{Drained, Figures};
use crate::route::Key;

/// What stays when a route changes.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) key: Key,
    pub(crate) counts: Counts,
    pub(crate) active: Arc<Tally>,
    pub(crate) gate: Gate,
    pub(crate) rates: Rates,
    pub(crate) log: Option<Arc<Log>>,
    /// None once the route was removed.
    current: ArcSwapOption<Served>,
    pool: ArcSwap<Vec<Arc<Member>>>,
    /// Back ends that no version has any more, while something is under way there.
    leaving: Mutex<Vec<Arc<Member>>>,
    /// Wakes whoever waits to be cut.
    cut: Notify,
    cuts: AtomicU64,
    turn: AtomicUsize,
    probes: Mutex<Option<AbortHandle>>,
}

impl Kept {
    pub(crate) fn new(key: Key, log: Option<Arc<Log>>) -> Self {
        Self {
            key,
            counts: Counts::default(),
            active: Arc::default(),
            gate: Gate::default(),
            rates: Rates::default(),
            log,
            current: ArcSwapOption::empty(),
            pool: ArcSwap::default(),
            leaving: Mutex::default(),
            cut: Notify::new(),
            cuts: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            probes: Mutex::new(None),
        }
    }

    pub(crate) fn current(&self) -> Option<Arc<Served>> {
        self.current.load_full()
    }

    pub(crate) fn members(&self) -> Arc<Vec<Arc<Member>>> {
        self.pool.load_full()
    }

    /// Has `served` be the version that counts. Returns the back ends that it no longer has.
    pub(crate) fn take(&self, served: &Arc<Served>) -> Vec<Arc<Member>> {
        let before = self.pool.load_full();
        let mut members: Vec<Arc<Member>> = Vec::new();
        for backend in &served.standing.route.backends {
            if members.iter().any(|member| member.address == backend.0) {
                continue;
            }
            let known = before.iter().find(|member| member.address == backend.0);
            members.push(known.cloned().unwrap_or_else(|| Arc::new(Member::new(backend.0))));
        }
        let stays = |member: &Arc<Member>| members.iter().any(|kept| Arc::ptr_eq(kept, member));
        let gone: Vec<_> = before.iter().filter(|member| !stays(member)).cloned().collect();
        self.pool.store(Arc::new(members));
        self.current.store(Some(Arc::clone(served)));
        gone.iter().for_each(|member| member.leave());
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).extend(gone.iter().cloned());
        self.gate.set(served.standing.paused);
        gone
    }

    /// Has `probes` see whether back ends are well, in the place of what did before; where nothing does, none is ill.
    pub(crate) fn probed_by(&self, probes: Option<AbortHandle>) {
        if probes.is_none() {
            self.members().iter().for_each(|member| member.probed(None));
        }
        let before =
            std::mem::replace(&mut *self.probes.lock().unwrap_or_else(PoisonError::into_inner), probes);
        if let Some(before) = before {
            before.abort();
        }
    }

    /// Has nothing new begin. What waits because the route is paused finds that it is gone.
    pub(crate) fn retire(&self) {
        self.current.store(None);
        self.members().iter().for_each(|member| member.leave());
        self.gate.set(false);
        self.probed_by(None);
    }

    /// The next back end, whichever version is served.
    pub(crate) fn choose(&self, tried: &[SocketAddr]) -> Option<Chosen> {
        loop {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let chosen = pool::choose(&self.pool.load(), tried, turn)?;
            // It may have left between the two lines above; whoever waits for its last request must not miss this one.
            if !chosen.member().is_leaving() || self.current.load().is_none() {
                return Some(chosen);
            }
        }
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }

    /// Cuts all that is under way, or all at `member`.
    pub(crate) fn cut(&self, member: Option<&Member>) {
        match member {
            Some(member) => member.cut(),
            None => {
                self.cuts.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.cut.notify_waiters();
    }

    /// Resolves when `is_cut` says so.
    pub(crate) async fn wait_for_cut(&self, is_cut: impl Fn() -> bool) {
        loop {
            let mut woken = std::pin::pin!(self.cut.notified());
            woken.as_mut().enable();
            if is_cut() {
                return;
            }
            woken.await;
        }
    }

    /// Waits until nothing is under way, or nothing at `member`; cuts what is left after `within`.
    pub(crate) async fn drain(&self, member: Option<&Member>, within: Duration) -> Drained {
        let active = member.map_or(&self.active, |member| &member.active);
        let (before, ended) = (active.count() as u64, self.counts.ended.load(Ordering::Relaxed));
        if tokio::time::timeout(within, active.none()).await.is_ok() {
            return Drained { ended: before, cut: 0 };
        }
        let cut = active.count() as u64;
        let ended = self.counts.ended.load(Ordering::Relaxed) - ended;
        self.cut(member);
        Drained { ended: if member.is_none() { ended } else { before.saturating_sub(cut) }, cut }
    }

    /// Waits until nothing is under way at a back end that has left, and forgets it; cuts what is left after `within`.
    pub(crate) async fn see_off(&self, member: &Arc<Member>, within: Duration) {
        self.drain(Some(member), within).await;
        member.active.none().await;
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|other| !Arc::ptr_eq(other, member));
    }

    /// Resolves when nothing is under way at back ends that have left.
    pub(crate) async fn settled(&self) {
        loop {
            let next = self.leaving.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
            let Some(member) = next else { return };
            member.active.none().await;
            let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
            leaving.retain(|other| !Arc::ptr_eq(other, &member));
        }
    }

    /// The back end at `address`, leaving ones included.
    pub(crate) fn member(&self, address: SocketAddr) -> Option<Arc<Member>> {
        let known = self.members().iter().find(|member| member.address == address).cloned();
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        known.or_else(|| leaving.iter().find(|member| member.address == address).cloned())
    }

    pub(crate) fn figures(&self) -> Figures {
        let counts = &self.counts;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let statuses = counts.statuses.iter().zip(1..).map(|(count, class)| (class, of(count)));
        Figures {
            route: self.key.to_string(),
            paused: self.gate.is_closed(),
            requests: of(&counts.requests),
            statuses: statuses.filter(|(_, count)| *count > 0).collect(),
            failed: of(&counts.failed),
            active: self.active.count() as u64,
            tunnels: of(&counts.tunnels),
            waiting: of(&counts.waiting),
            received: of(&counts.received),
            sent: of(&counts.sent),
            p50_us: counts.latencies.quantile(0.5),
            p99_us: counts.latencies.quantile(0.99),
            backends: self.members().iter().map(|member| member.figures()).collect(),
        }
    }
}
