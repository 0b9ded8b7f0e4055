//! Owns the back ends of a route: what is known of each, which one is next, and which are left out for a while.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::pace;
use super::tally::{Counted, Tally};
use crate::driver::BackendFigures;
use crate::route::Backend;

/// So many failures without a success in between leave a back end out.
const FAILURES: u32 = 5;
/// For how long, the first time; twice as long each time after.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// So many probes in a row must go wrong.
const BAD_PROBES: u32 = 2;

/// A back end of a route, as long as versions of the route follow each other that have it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) address: SocketAddr,
    pub(crate) active: Arc<Tally>,
    requests: AtomicU64,
    failed: AtomicU64,
    in_a_row: AtomicU32,
    times_out: AtomicU32,
    out_until: AtomicU64,
    probed_ill: AtomicBool,
    bad_probes: AtomicU32,
    problem: Mutex<Option<String>>,
    leaving: AtomicBool,
    cuts: AtomicU64,
}

impl Member {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            active: Arc::default(),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            in_a_row: AtomicU32::new(0),
            times_out: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            probed_ill: AtomicBool::new(false),
            bad_probes: AtomicU32::new(0),
            problem: Mutex::new(None),
            leaving: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
        }
    }

    /// Has nothing choose it any more.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// Has everything that is under way here find that it is cut; whoever waits for it must be woken by the caller.
    pub(crate) fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }

    fn is_well(&self, now: u64) -> bool {
        !self.probed_ill.load(Ordering::Relaxed) && self.out_until.load(Ordering::Relaxed) <= now
    }

    /// What a probe has seen: `None` where all was well. One that goes wrong is not believed yet.
    pub(crate) fn probed(&self, problem: Option<String>) {
        let Some(problem) = problem else {
            self.bad_probes.store(0, Ordering::Relaxed);
            if self.probed_ill.swap(false, Ordering::Relaxed) {
                self.set_problem(None);
            }
            return;
        };
        if self.bad_probes.fetch_add(1, Ordering::Relaxed) + 1 >= BAD_PROBES {
            self.set_problem(Some(problem));
            self.probed_ill.store(true, Ordering::Relaxed);
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    fn failed(&self, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row < FAILURES || self.out_until.load(Ordering::Relaxed) > pace::now() {
            return;
        }
        let times = self.times_out.fetch_add(1, Ordering::Relaxed).min(16);
        let out = SHORTEST.saturating_mul(1 << times).min(LONGEST);
        self.out_until.store(pace::now() + pace::millis(out), Ordering::Relaxed);
        self.set_problem(Some(format!("{in_a_row} failures in a row, the last one: {why}")));
    }

    fn succeeded(&self) {
        if self.in_a_row.swap(0, Ordering::Relaxed) >= FAILURES {
            self.set_problem(None);
        }
        // One that has been well for as long as it was left out at most begins anew.
        let times = self.times_out.load(Ordering::Relaxed);
        if times > 0 && self.out_until.load(Ordering::Relaxed) + pace::millis(LONGEST) < pace::now() {
            self.times_out.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn figures(&self) -> BackendFigures {
        let healthy = self.is_well(pace::now());
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        BackendFigures {
            address: Backend(self.address),
            healthy,
            active: self.active.count() as u64,
            requests: self.requests.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            problem: problem.filter(|_| !healthy),
        }
    }
}

/// The one with the fewest under way of those that are well, or of all where none is; those in `tried` are left out.
/// `turn` spreads those that are equal.
pub(crate) fn choose(members: &[Arc<Member>], tried: &[SocketAddr], turn: usize) -> Option<Chosen> {
    let now = pace::now();
    let least = |well_only: bool| {
        let count = members.len();
        (0..count)
            .map(|step| &members[(turn.wrapping_add(step)) % count])
            .filter(|member| !tried.contains(&member.address) && (!well_only || member.is_well(now)))
            .min_by_key(|member| member.active.count())
    };
    let member = least(true).or_else(|| least(false))?;
    let counted = member.active.enter();
    member.requests.fetch_add(1, Ordering::Relaxed);
    Some(Chosen { member: Arc::clone(member), _counted: counted })
}

/// A back end that was chosen. A request counts as under way there until this is dropped.
#[derive(Debug)]
pub(crate) struct Chosen {
    member: Arc<Member>,
    _counted: Counted,
}

impl Chosen {
    pub(crate) fn address(&self) -> SocketAddr {
        self.member.address
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// It did not take the request, or did not answer it.
    pub(crate) fn failed(&self, why: impl std::fmt::Display) {
        self.member.failed(&why.to_string());
    }

    pub(crate) fn succeeded(&self) {
        self.member.succeeded();
    }
}
