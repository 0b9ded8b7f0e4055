//! Owns forwarding: questions for names that are not ours, whom they are asked of, and the answers that are kept.
//! Leaves sockets of clients, and names that are ours, to the server.
//!
//! A client's question takes this way: [`Forwarder::admits`] and [`Forwarder::allows`], then [`Forwarder::cached`] in
//! the hot loop, and [`Forwarder::resolve`] for what the cache does not have.
//!
//! # Who is asked
//!
//! The longest zone under `[dns.forward.zones]` counts, and its names are asked for nowhere else, also when nobody of
//! its upstreams answers. Names that the public DNS cannot know are treated as unbound treats them:
//!
//! - `localhost` and the reverse of loopback addresses are answered here (RFC 6761, 6303);
//! - `test`, `invalid`, `onion`, `alt`, `resolver.arpa` and reverse zones that no host is in do not exist, and nobody
//!   is asked (RFC 6761, 7686, 9476, 9462, 6303);
//! - `home.arpa`, `internal`, `local`, `lan`, `service.arpa` and reverse zones of private networks are asked of those
//!   `resolvers` that have private addresses themselves, a home router knows them; there is none, or only public ones:
//!   they do not exist (RFC 8375, 6762, 9665, 6303, 7793). They are never asked of a `fallback`.
//!
//! Everything else goes to `resolvers` in their order, then to `fallback`; who was silent lately comes last. The next
//! one is asked at once after SERVFAIL, REFUSED or a broken answer, and a moment later beside one that is silent.
//!
//! # What is believed
//!
//! An answer over UDP must come from the address and to the port of its question (each has a socket of its own), with
//! its id, and its name in the very case that was sent (0x20). What does not fit is ignored; after three such, and for
//! every answer that lost only the case, the question goes over TCP, which cannot be forged from aside. An upstream that
//! loses the case over TCP too does so always: it is asked over UDP without 0x20 from then on, as every stub resolver
//! does, since id and port are still random, and TCP for every question costs more than that is worth. Records that
//! do not follow from the question are dropped. AD is never set: nothing is validated here.
//!
//! # What is kept
//!
//! A day at most, "there is none" an hour at most (RFC 2308), failures five seconds (RFC 9520). Past its end an answer
//! is given when nobody answers, or not within 1.8 s (RFC 8767), for `stale` at most. Time is monotonic: whoever sets
//! the clock changes nothing.

mod cache;
mod clients;
mod health;
mod metrics;
mod peer;
mod question;
mod race;
pub mod reply;
mod request;
mod resolve;
mod routes;
mod settings;
mod single;
mod special;
mod stored;
mod stream;
mod trace;
mod underway;
mod upstream;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use domain::base::iana::Rcode;
use effect::Result;
use tokio::time::timeout;

use cache::Cache;
use clients::Clients;
use metrics::{Counters, count};
use peer::now;
use request::Asking;
use resolve::{Want, refusal};
use routes::Routes;
use stored::{Age, Stored};
use trace::Steps;
use underway::UnderWay;

pub use metrics::{Metrics, UpstreamMetrics};
pub use question::{LONGEST_NAME, Moment, OwnedQuestion, PLAIN_LIMIT, Question};
pub use settings::Settings;
pub use single::{Said, Single};
pub use trace::{Failure, Step};
pub use upstream::{BadUpstream, Transport, Upstream};

/// A client with an answer past its end at hand waits no longer for a new one, RFC 8767 section 5.
const STALE_PATIENCE: Duration = Duration::from_millis(1800);

/// What the cache says to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The answer is written.
    Hit {
        /// The answer ends soon: call [`Forwarder::refresh`] in the background. Said once for an answer.
        prefetch: bool,
    },
    /// Nothing is written; [`Forwarder::resolve`] may give an answer past its end.
    Stale,
    /// Nothing is written; call [`Forwarder::resolve`].
    Miss,
}

/// Asks others, and keeps what they answered. Shared by threads, each with its own runtime.
pub struct Forwarder {
    routes: Routes,
    cache: Cache,
    clients: Clients,
    counters: Counters,
    stale_for: Duration,
    under_way: Arc<UnderWay>,
}

/// An answer, and how it came about.
#[derive(Debug, Clone)]
pub struct Answer {
    stored: Arc<Stored>,
    steps: Arc<[Step]>,
}

impl Answer {
    /// Appends the answer to `out` as the client of `question` takes it: its id, case, flags and size. `question` is
    /// the one that was resolved, or another client's of the same name and type.
    pub fn write(&self, question: &Question<'_>, now: Moment, out: &mut Vec<u8>) {
        self.stored.write(question, now, out);
    }

    /// The code of the answer.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        self.stored.rcode()
    }

    /// How it came about, step by step.
    #[must_use]
    pub fn trace(&self) -> &[Step] {
        &self.steps
    }

    fn new(stored: Arc<Stored>, step: Step) -> Self {
        Self { stored, steps: [step].into() }
    }
}

impl Forwarder {
    /// A forwarder with an empty cache. Reads certificates of authorities where an upstream is spoken to over TLS.
    ///
    /// # Errors
    /// `MC-U002` for settings that make no sense.
    pub fn new(settings: &Settings) -> Result<Arc<Self>> {
        settings.check()?;
        Ok(Arc::new(Self {
            routes: Routes::new(settings)?,
            cache: Cache::new(settings.cache.0),
            clients: Clients::new(settings.clients.clone(), settings.queries_per_second),
            counters: Counters::default(),
            stale_for: settings.stale.0,
            under_way: Arc::default(),
        }))
    }

    /// Whether the client may ask for names that are not ours. Others are refused: open resolvers are abused.
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        self.clients.admits(client)
    }

    /// Whether the client may ask once more now. A network of IPv6 (/64) is one client, this machine has no limit.
    #[must_use]
    pub fn allows(&self, client: IpAddr, now: Moment) -> bool {
        self.clients.allows(client, now)
    }

    /// Appends the answer from the cache to `out`, if it has one. Does not wait, and allocates nothing but what `out`
    /// lacks.
    pub fn cached(&self, question: &Question<'_>, now: Moment, out: &mut Vec<u8>) -> Lookup {
        let Some(stored) = self.find(question) else {
            count(&self.counters.misses);
            return Lookup::Miss;
        };
        let prefetch = match stored.age(now) {
            Age::Fresh(seconds) => {
                count(&self.counters.hits);
                stored.prefetch_due(seconds)
            }
            Age::Renewed => {
                count(&self.counters.stale);
                false
            }
            Age::Stale => {
                count(&self.counters.misses);
                return Lookup::Stale;
            }
            Age::Dead => {
                count(&self.counters.misses);
                return Lookup::Miss;
            }
        };
        stored.write(question, now, out);
        Lookup::Hit { prefetch }
    }

    /// Finds the answer, in a few seconds at most: also that there is none is an answer.
    pub async fn resolve(self: &Arc<Self>, question: OwnedQuestion) -> Answer {
        let asked = question.borrow();
        if let Some(refusal) = refusal(&asked) {
            return Answer::new(Arc::new(refusal), Step::Nobody);
        }
        let found = self.find(&asked).map(|stored| (stored.age(now()), stored));
        let stale = match found {
            Some((Age::Fresh(_) | Age::Renewed, stored)) => return Answer::new(stored, Step::Cached),
            Some((Age::Stale, stored)) => Some(stored),
            _ => None,
        };
        let Some(stale) = stale else { return self.shared(&question, Want::Any).await };
        match timeout(STALE_PATIENCE, self.shared(&question, Want::Any)).await {
            Ok(answer) => answer,
            Err(_) => Answer::new(self.renew(&asked, &stale), Step::Stale),
        }
    }

    /// Asks for what is in the cache already, so that it does not end while it is in use.
    pub async fn refresh(self: &Arc<Self>, question: OwnedQuestion) {
        count(&self.counters.prefetches);
        if refusal(&question.borrow()).is_none() {
            let _ = self.shared(&question, Want::New).await;
        }
    }

    /// Puts a question to every upstream of every list, each for itself and past the cache: a [`Step::Asked`] for each
    /// says what came of it.
    pub async fn probe(&self, question: &OwnedQuestion) -> Vec<Step> {
        let asking = Asking::of(&question.borrow());
        let each = self.routes.peers.iter().map(async |peer| {
            let steps = Steps::default();
            // What came of it is in the steps.
            let _ = peer.ask(&asking, &steps).await;
            steps.take()
        });
        futures_util::future::join_all(each).await.concat()
    }

    /// Forgets all answers.
    pub fn clear(&self) {
        self.cache.clear();
    }

    /// Figures since the start.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let counters = &self.counters;
        Metrics {
            hits: counters.hits.load(Relaxed),
            misses: counters.misses.load(Relaxed),
            stale: counters.stale.load(Relaxed),
            prefetches: counters.prefetches.load(Relaxed),
            joined: counters.joined.load(Relaxed),
            failures: counters.failures.load(Relaxed),
            crowded: counters.crowded.load(Relaxed),
            entries: self.cache.entries() as u64,
            bytes: self.cache.bytes(),
            upstreams: self.routes.peers.iter().map(|peer| peer.metrics()).collect(),
        }
    }
}
