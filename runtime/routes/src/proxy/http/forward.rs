//! Owns which back end gets a request, and when another one is tried.

use std::net::SocketAddr;

use tokio::time::Instant;

use super::answer::Answer;
use super::dispatch::{Ended, Own, Visit, give, log, refuse};
use super::exchange::{Broken, Client, Exchange, Outcome, Upstream};
use super::request::{Length, Origin, Refused, Request};
use super::tunnel::Tunnel;
use super::upstream::{Http1, Place, Way, connect};
use super::watch::Timer;
use crate::proxy::header;
use crate::proxy::pool::Chosen;
use crate::proxy::turn::Turn;
use crate::route::{Protocol, Route};

/// How an attempt ends.
enum Attempt {
    /// Somehow, for good.
    Over(Outcome),
    /// In another protocol.
    Switched(Http1),
    /// Without anything having been sent.
    NotSent { why: String, is_late: bool },
    /// Without an answer.
    Lost {
        why: Broken,
        is_late: bool,
        /// The back end closed a connection that had waited, perhaps before it saw the request.
        is_stale: bool,
        /// The back end says that it has not begun with it.
        is_unseen: bool,
        /// Nothing of the body was taken from the client.
        is_whole: bool,
    },
}

/// What is used by every attempt.
struct Forwarding<'a, C> {
    client: &'a mut C,
    request: &'a Request,
    reply: &'a mut Answer,
    turn: &'a Turn,
    route: &'a Route,
    visit: &'a Visit,
    timer: &'a mut Timer,
}

/// Has a request answered by a back end of the route whose turn it is.
pub(super) async fn forward<C: Client>(
    client: &mut C,
    request: &mut Request,
    reply: &mut Answer,
    turn: Turn,
    visit: &Visit,
    timer: &mut Timer,
) -> Ended {
    let served = std::sync::Arc::clone(turn.served());
    let route = &served.standing.route;
    let mut forwarding = Forwarding { client, request, reply, turn: &turn, route, visit, timer };
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut is_fresh = false;
    let mut failure = (503, "it has no back end".to_owned());
    while tried.len() <= usize::from(route.retries) {
        let Some(chosen) = turn.choose(&tried) else { break };
        let place = Place { address: chosen.address(), tls: served.backend_tls().cloned() };
        let attempt = match route.protocol {
            Protocol::Http1 => forwarding.by_http1(&place, is_fresh).await,
            Protocol::Http2 => forwarding.by_http2(&place, is_fresh).await,
        };
        match attempt {
            Attempt::Over(outcome) => {
                if let Outcome::Torn { why } = &outcome {
                    chosen.failed(why);
                } else if matches!(outcome, Outcome::Done { .. }) {
                    chosen.succeeded();
                }
                return forwarding.end(outcome).await;
            }
            Attempt::Switched(upstream) => {
                chosen.succeeded();
                return switch(client, reply, upstream, turn, chosen, request, &served.standing.route);
            }
            Attempt::NotSent { why, is_late } => {
                chosen.failed(&why);
                failure = (if is_late { 504 } else { 502 }, why);
                tried.push(chosen.address());
            }
            Attempt::Lost { is_stale: true, is_whole: true, is_unseen, .. }
                if !is_fresh && (is_unseen || request.is_idempotent()) =>
            {
                is_fresh = true;
            }
            Attempt::Lost { why, is_late, is_whole, .. } => {
                chosen.failed(&why);
                failure = (if is_late { 504 } else { 502 }, why.to_string());
                if is_late || !is_whole || !request.is_safe() {
                    break;
                }
                tried.push(chosen.address());
            }
        }
    }
    let (status, why) = failure;
    turn.failed();
    turn.answered(status);
    log::<C>(&turn, request, Some(&why));
    let own = match status {
        504 => Own::line(504, "the service did not answer in time\n"),
        502 => Own::line(502, "the service does not answer\n"),
        _ => Own::line(503, "the service is not there\n"),
    };
    give(client, request, reply, &own, timer).await
}

impl<C: Client> Forwarding<'_, C> {
    async fn by_http1(&mut self, place: &Place, is_fresh: bool) -> Attempt {
        let header = self.proxy_header();
        let waiting = (header.is_empty() && !is_fresh).then(|| Http1::waiting(place, self.request)).flatten();
        let mut upstream = match waiting {
            Some(upstream) => upstream,
            None => {
                let by = Instant::now() + self.route.timeouts.connect.0;
                match self.timer.by(by, connect(place, &header, false)).await {
                    Some(Ok(stream)) => Http1::new(stream),
                    Some(Err(error)) => return Attempt::NotSent { why: error.to_string(), is_late: false },
                    None => return not_in_time(),
                }
            }
        };
        upstream.begin(self.request, &self.origin());
        let (outcome, octets) = self.exchange(&mut upstream).await;
        match outcome {
            Outcome::NoAnswer { why, is_late } => {
                let is_stale = upstream.is_reused && !upstream.has_heard && !is_late;
                Attempt::Lost { why, is_late, is_stale, is_unseen: false, is_whole: octets == 0 }
            }
            Outcome::Switch => Attempt::Switched(upstream),
            Outcome::Done { is_clean } => {
                if is_clean && header.is_empty() {
                    upstream.keep(place.clone());
                }
                Attempt::Over(outcome)
            }
            other => Attempt::Over(other),
        }
    }

    async fn by_http2(&mut self, place: &Place, is_fresh: bool) -> Attempt {
        let header = self.proxy_header();
        let by = Instant::now() + self.route.timeouts.connect.0;
        let may_share = header.is_empty() && !is_fresh;
        let way = async {
            if may_share && let Some(way) = Way::shared(place).await {
                return Ok(way);
            }
            Way::new(place, &header).await
        };
        let way = match self.timer.by(by, way).await {
            Some(Ok(way)) => way,
            Some(Err(why)) => return Attempt::NotSent { why: why.to_string(), is_late: false },
            None => return not_in_time(),
        };
        let is_reused = way.is_reused;
        let mut upstream = match way.begin(self.request, &self.origin()) {
            Ok(upstream) => upstream,
            // That is the client's doing, not the back end's.
            Err(Broken::Said(why)) => return Attempt::Over(Outcome::Refused(Refused { status: 400, why })),
            Err(why) => return Attempt::NotSent { why: why.to_string(), is_late: false },
        };
        if self.request.expects {
            // Nothing of HTTP/2 waits for 100: it has windows.
            self.reply.clear();
            self.reply.status = 100;
            self.reply.reason.extend_from_slice(b"Continue");
            if self.client.interim(self.reply).is_err() {
                return Attempt::Over(Outcome::Gone);
            }
        }
        let (outcome, octets) = self.exchange(&mut upstream).await;
        match outcome {
            Outcome::NoAnswer { why, is_late } => {
                let is_unseen = is_unseen(&why);
                let is_stale = is_reused && !is_late && (is_unseen || is_lost(&why));
                Attempt::Lost { why, is_late, is_stale, is_unseen, is_whole: octets == 0 }
            }
            other => Attempt::Over(other),
        }
    }

    async fn exchange<U: Upstream>(&mut self, upstream: &mut U) -> (Outcome, u64) {
        let exchange = Exchange::new(
            self.client,
            upstream,
            self.request,
            self.reply,
            self.turn,
            self.route,
            self.timer,
            self.visit.arrival.secure,
        );
        exchange.run().await
    }

    fn origin(&self) -> Origin<'_> {
        Origin { client: &self.visit.client, is_secure: self.visit.arrival.secure }
    }

    fn proxy_header(&self) -> Vec<u8> {
        let arrival = &self.visit.arrival;
        let addresses = Some((arrival.client, arrival.local));
        self.route.send_proxy.map(|version| header::write(version, addresses)).unwrap_or_default()
    }

    /// What the end of an exchange is to the client.
    async fn end(self, outcome: Outcome) -> Ended {
        let Self { client, request, reply, turn, timer, .. } = self;
        let problem = match &outcome {
            Outcome::Done { .. } => None,
            Outcome::Refused(refused) => Some(refused.why.to_owned()),
            Outcome::Gone => Some("the client is gone".to_owned()),
            Outcome::Torn { why } => Some(format!("the answer was not whole: {why}")),
            Outcome::Slow => Some("nothing happened for too long".to_owned()),
            Outcome::Cut => Some("its time after a change of the route was over".to_owned()),
            Outcome::Switch | Outcome::NoAnswer { .. } => Some("no answer".to_owned()),
        };
        if !matches!(outcome, Outcome::Done { .. } | Outcome::Gone) {
            turn.failed();
        }
        let ended = match outcome {
            Outcome::Done { .. } if request.keeps && client.is_kept() => Ended::Keep,
            Outcome::Done { .. } => Ended::Close,
            Outcome::Refused(refused) => {
                turn.answered(refused.status);
                refuse(client, refused, reply, timer).await
            }
            Outcome::Gone => Ended::Gone,
            _ => Ended::Abort,
        };
        log::<C>(turn, request, problem.as_deref());
        ended
    }
}

fn not_in_time() -> Attempt {
    Attempt::NotSent { why: "it did not take a connection in time".into(), is_late: true }
}

/// Whether the back end says that it has not begun with the request (RFC 9113, section 8.7).
fn is_unseen(why: &Broken) -> bool {
    let Broken::Http2(error) = why else { return false };
    error.is_remote() && (error.reason() == Some(h2::Reason::REFUSED_STREAM) || error.is_go_away())
}

/// Whether the connection went away beneath the request.
fn is_lost(why: &Broken) -> bool {
    matches!(why, Broken::Http2(error) if error.is_io() || error.is_go_away())
}

fn switch<C: Client>(
    client: &mut C,
    reply: &mut Answer,
    upstream: Http1,
    turn: Turn,
    chosen: Chosen,
    request: &Request,
    route: &Route,
) -> Ended {
    debug_assert_eq!(request.length, Length::None);
    turn.answered(101);
    if client.begin(reply, true).is_err() {
        return Ended::Abort;
    }
    log::<C>(&turn, request, None);
    Ended::Tunnel(Box::new(Tunnel::new(upstream.into_wire(), turn, chosen, route.timeouts.idle.0)))
}
