//! Owns one upstream while it is asked: over UDP from a port of its own for each question, over TCP where that does not
//! do, and what is learnt of it. Leaves the choice between upstreams to [`super::race`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::base::iana::Rcode;
use futures_util::future::select;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::health::Health;
use super::metrics::{UpstreamCounters, UpstreamMetrics};
use super::question::Moment;
use super::reply::{Flaw, Reply, Sent, read};
use super::request::{Asking, Manner, Request};
use super::stream::{Stream, Tls, unreachable};
use super::trace::{Failure, Step, Steps};
use super::upstream::{Transport, Upstream};

/// A datagram may be lost: it is sent again, from another port, with another id.
const RESEND: Duration = Duration::from_millis(1000);
/// Both have this long from then on.
const REST: Duration = Duration::from_millis(2500);
/// So many datagrams that answer something else are an attack: TCP cannot be forged from aside.
const MOST_MISMATCHES: usize = 3;
/// More than we say we take, for upstreams that do not listen.
const DATAGRAM: usize = 4096;
/// No question waits longer for one upstream.
const PATIENCE: Duration = Duration::from_millis(4500);

/// One upstream.
pub(super) struct Peer {
    pub(super) upstream: Upstream,
    stream: Stream,
    health: Mutex<Health>,
    counters: UpstreamCounters,
}

/// Why UDP did not bring the answer.
enum Datagram {
    Stream { case_lost: bool },
    Failed(Failure),
    WithoutEdns(Failure),
}

pub(super) fn now() -> Moment {
    tokio::time::Instant::now().into_std()
}

impl Peer {
    pub(super) fn new(upstream: Upstream, tls: Option<Tls>) -> Self {
        Self {
            stream: Stream::new(upstream.address, tls),
            upstream,
            health: Mutex::default(),
            counters: UpstreamCounters::default(),
        }
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn metrics(&self) -> UpstreamMetrics {
        let health = self.health();
        UpstreamMetrics {
            upstream: self.upstream.to_string(),
            smoothed: health.smoothed(),
            last: health.is_last(now()),
            ..self.counters.read()
        }
    }

    /// Asks. Whatever comes of it, also that nobody waits for it any more, is noted in `steps`, figures and health.
    pub(super) async fn ask(&self, asking: &Asking, steps: &Steps) -> Result<Reply, Failure> {
        let mut attempt = Attempt::begin(self, steps);
        let outcome = timeout(PATIENCE, self.exchange(asking, &mut attempt.transport)).await;
        let outcome = outcome.unwrap_or(Err(Failure::TimedOut));
        attempt.end(outcome.as_ref().map(Reply::rcode).map_err(Clone::clone));
        outcome
    }

    async fn exchange(&self, asking: &Asking, transport: &mut Transport) -> Result<Reply, Failure> {
        let edns = self.health().speaks_edns();
        match self.put(asking, transport, edns).await {
            Err(Datagram::WithoutEdns(_)) => {
                let reply = self.put(asking, transport, false).await.map_err(Datagram::failure)?;
                self.health().edns_never();
                Ok(reply)
            }
            outcome => outcome.map_err(Datagram::failure),
        }
    }

    async fn put(&self, asking: &Asking, transport: &mut Transport, edns: bool) -> Result<Reply, Datagram> {
        if self.upstream.transport != Transport::Udp {
            return self.over_stream(asking, edns, false).await;
        }
        match self.over_udp(asking, edns).await {
            Err(Datagram::Stream { case_lost }) => {
                *transport = Transport::Tcp;
                let outcome = self.over_stream(asking, edns, true).await;
                if case_lost && outcome.is_err() {
                    self.health().case_lost();
                }
                outcome
            }
            outcome => outcome,
        }
    }

    async fn over_udp(&self, asking: &Asking, edns: bool) -> Result<Reply, Datagram> {
        let mut first = pin!(self.datagram(asking, edns));
        if let Ok(outcome) = timeout(RESEND, &mut first).await {
            return outcome;
        }
        // The first one goes on: it may be slow and not lost.
        let second = pin!(self.datagram(asking, edns));
        match timeout(REST, select(first, second)).await {
            Ok(either) => either.factor_first().0,
            Err(_) => Err(Datagram::Failed(Failure::TimedOut)),
        }
    }

    /// One datagram out of a socket of its own, and the first back that answers it.
    async fn datagram(&self, asking: &Asking, edns: bool) -> Result<Reply, Datagram> {
        let failed = |error: std::io::Error| Datagram::Failed(unreachable(&error));
        let cased = self.health().keeps_case();
        let request = Request::new(asking, Manner { cased, edns, padded: false })
            .ok_or_else(|| Datagram::Failed(no_chance()))?;
        let socket = UdpSocket::bind(any_port(self.upstream.address)).await.map_err(failed)?;
        socket.connect(self.upstream.address).await.map_err(failed)?;
        socket.send(&request.message).await.map_err(failed)?;
        let mut buffer = [0; DATAGRAM];
        let mut mismatches = 0;
        loop {
            let length = socket.recv(&mut buffer).await.map_err(failed)?;
            match read(&mut buffer[..length], &sent(asking, &request, false)) {
                Ok(reply) => {
                    self.health().case_kept();
                    return Ok(reply);
                }
                Err(Flaw::Unrelated) => {
                    self.counters.mismatched();
                    mismatches += 1;
                    if mismatches >= MOST_MISMATCHES {
                        return Err(Datagram::Stream { case_lost: false });
                    }
                }
                Err(Flaw::CaseLost) => {
                    self.counters.mismatched();
                    return Err(Datagram::Stream { case_lost: true });
                }
                Err(Flaw::Truncated) => return Err(Datagram::Stream { case_lost: false }),
                Err(flaw) => return Err(failure(flaw)),
            }
        }
    }

    /// `cased` finds out whether the upstream keeps the case, where nobody can have changed it on the way.
    async fn over_stream(&self, asking: &Asking, edns: bool, cased: bool) -> Result<Reply, Datagram> {
        let padded = self.upstream.transport == Transport::Tls;
        let request = Request::new(asking, Manner { cased, edns, padded })
            .ok_or_else(|| Datagram::Failed(no_chance()))?;
        let mut message = self.stream.ask(&request.message).await.map_err(Datagram::Failed)?;
        let reply = read(&mut message, &sent(asking, &request, true)).map_err(failure)?;
        if !reply.echoed {
            self.health().case_never();
        }
        Ok(reply)
    }
}

impl Datagram {
    fn failure(self) -> Failure {
        match self {
            Self::Failed(failure) | Self::WithoutEdns(failure) => failure,
            Self::Stream { .. } => Failure::Malformed("it cannot be read over UDP"),
        }
    }
}

fn no_chance() -> Failure {
    Failure::Unreachable("the system has no random numbers".into())
}

/// The kernel picks the port at random.
fn any_port(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(_) => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

fn sent<'a>(asking: &Asking, request: &'a Request, stream: bool) -> Sent<'a> {
    Sent {
        id: request.id,
        name: &request.name,
        rtype: asking.rtype,
        class: asking.class,
        dnssec_ok: asking.dnssec_ok,
        stream,
    }
}

fn failure(flaw: Flaw) -> Datagram {
    match flaw {
        Flaw::Refused { rcode, ede, edns } => {
            let failure = Failure::Refused { rcode, ede };
            // RFC 6891 section 7: who does not know EDNS says FORMERR, or NOTIMP.
            let unknown =
                [Rcode::FORMERR, Rcode::NOTIMP].iter().any(|code| u16::from(code.to_int()) == rcode);
            if unknown && !edns { Datagram::WithoutEdns(failure) } else { Datagram::Failed(failure) }
        }
        Flaw::Malformed(why) => Datagram::Failed(Failure::Malformed(why)),
        Flaw::Unrelated => Datagram::Failed(Failure::Malformed("it answers another question")),
        Flaw::CaseLost => Datagram::Failed(Failure::Malformed("it lost the case of the question")),
        Flaw::Truncated => Datagram::Failed(Failure::Malformed("it is truncated")),
    }
}

/// A question to an upstream, noted also when it is given up half-way.
struct Attempt<'a> {
    peer: &'a Peer,
    steps: &'a Steps,
    begun: Moment,
    hedge: Duration,
    transport: Transport,
    ended: bool,
}

impl<'a> Attempt<'a> {
    fn begin(peer: &'a Peer, steps: &'a Steps) -> Self {
        peer.counters.asked();
        let (hedge, transport) = (peer.health().hedge(), peer.upstream.transport);
        Self { peer, steps, begun: now(), hedge, transport, ended: false }
    }

    fn end(&mut self, outcome: Result<Rcode, Failure>) {
        self.ended = true;
        let (now, peer) = (now(), self.peer);
        let took = now.saturating_duration_since(self.begun);
        match &outcome {
            Ok(_) => {
                peer.counters.answered(took);
                peer.health().answered(took);
            }
            Err(failure) => {
                peer.counters.failed(failure);
                match failure {
                    // It is there, it just does not know or want this.
                    Failure::Refused { .. } => peer.health().answered(took),
                    Failure::Overtaken => peer.health().overtaken(now),
                    Failure::Busy => {}
                    _ => peer.health().failed(now),
                }
            }
        }
        let upstream = peer.upstream.clone();
        self.steps.push(Step::Asked { upstream, transport: self.transport, outcome, took });
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Given up before it had its time: that says nothing.
        if !self.ended && now().saturating_duration_since(self.begun) >= self.hedge {
            self.end(Err(Failure::Overtaken));
        }
    }
}
