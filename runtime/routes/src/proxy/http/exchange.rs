//! Owns one exchange: a request on its way to a back end and its answer on the way to the client, both at once, neither
//! held in memory.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::answer::{Answer, Body};
use super::fields::Fields;
use super::request::{Length, Refused, Request};
use super::watch::{Timer, Watch};
use crate::proxy::turn::Turn;
use crate::route::Route;

/// What is wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Said(&'static str),
    #[error("{0}")]
    Http2(#[from] h2::Error),
}

/// What comes next of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// Some of it is at hand.
    Data,
    /// It is over.
    End,
}

/// Where a body comes from.
pub(super) trait Source {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, Broken>>;
    /// What is at hand.
    fn data(&self) -> &[u8];
    /// All that was at hand was taken.
    fn taken(&mut self);
    /// What came behind the body.
    fn trailers(&self) -> Option<&Fields>;
}

/// Where a body goes.
pub(super) trait Sink {
    /// Whether a piece may be pushed.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>>;
    fn push(&mut self, data: &[u8]) -> Result<(), Broken>;
    fn end(&mut self, trailers: Option<&Fields>) -> Result<(), Broken>;
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>>;
}

/// The side of the client.
pub(super) trait Client: Source + Sink {
    /// What the log calls it.
    const PROTOCOL: &'static str;
    /// Begins an answer; behind it the connection is kept or not.
    fn begin(&mut self, answer: &Answer, keeps: bool) -> Result<(), Broken>;
    /// Passes on an answer that comes before the answer proper.
    fn interim(&mut self, answer: &Answer) -> Result<(), Broken>;
    /// Whether another request may follow the answer that was begun last.
    fn is_kept(&self) -> bool;
    /// Resolves when nobody waits for the answer any more.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()>;
    /// Whether nobody waits for the answer any more, where nothing is read of the request meanwhile.
    fn has_left(&mut self) -> bool;
}

/// The side of the back end.
pub(super) trait Upstream: Source + Sink {
    fn poll_answer(&mut self, context: &mut Context<'_>, answer: &mut Answer) -> Poll<Result<(), Broken>>;
}

/// How an exchange ends.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The answer was passed on to its end.
    Done {
        /// Both connections are where another request may begin.
        is_clean: bool,
    },
    /// The back end changes the protocol. The answer was not passed on.
    Switch,
    /// Nothing came of the back end.
    NoAnswer { why: Broken, is_late: bool },
    /// The client sent what is refused, before it got an answer.
    Refused(Refused),
    /// The client is gone.
    Gone,
    /// The answer has begun and cannot be ended.
    Torn { why: Broken },
    /// The client sent or took nothing for too long, or too little.
    Slow,
    /// Its time is over.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    /// Everything is there, and perhaps not yet written.
    Ended,
}

/// An exchange under way.
pub(super) struct Exchange<'a, C, U> {
    pub(super) client: &'a mut C,
    pub(super) upstream: &'a mut U,
    pub(super) request: &'a Request,
    pub(super) answer: &'a mut Answer,
    pub(super) turn: &'a Turn,
    pub(super) route: &'a Route,
    pub(super) timer: &'a mut Timer,
    pub(super) is_secure: bool,
    /// Octets of the request's body that were taken.
    pub(super) octets: u64,
    sends: bool,
    asked: Instant,
    stage: Stage,
    keeps: bool,
    is_fine: bool,
    watch: Watch,
}

impl<'a, C: Client, U: Upstream> Exchange<'a, C, U> {
    #[expect(clippy::too_many_arguments, reason = "each is another part of one exchange")]
    pub(super) fn new(
        client: &'a mut C,
        upstream: &'a mut U,
        request: &'a Request,
        answer: &'a mut Answer,
        turn: &'a Turn,
        route: &'a Route,
        timer: &'a mut Timer,
        is_secure: bool,
    ) -> Self {
        let now = Instant::now();
        let watch = Watch::new(&route.timeouts, now);
        let (sends, keeps) = (request.length != Length::None, request.keeps);
        Self {
            client,
            upstream,
            request,
            answer,
            turn,
            route,
            timer,
            is_secure,
            octets: 0,
            sends,
            asked: now,
            stage: Stage::Head,
            keeps,
            is_fine: true,
            watch,
        }
    }

    /// Takes it to its end.
    pub(super) async fn run(mut self) -> (Outcome, u64) {
        let mut cut = std::pin::pin!(self.turn.cut());
        let outcome = std::future::poll_fn(|context| self.poll(context, cut.as_mut())).await;
        (outcome, self.octets)
    }

    fn poll(&mut self, context: &mut Context<'_>, cut: Pin<&mut impl Future<Output = ()>>) -> Poll<Outcome> {
        let mut moved = 0;
        loop {
            let before = moved;
            let stage = self.stage;
            if let Err(outcome) = self.pass_request(context, &mut moved) {
                return Poll::Ready(outcome);
            }
            match self.pass_answer(context, &mut moved) {
                Ok(None) => {}
                Ok(Some(outcome)) | Err(outcome) => return Poll::Ready(outcome),
            }
            if moved == before && stage == self.stage {
                break;
            }
        }
        if cut.poll(context).is_ready() {
            return Poll::Ready(Outcome::Cut);
        }
        if self.stage != Stage::Ended && self.client.poll_gone(context).is_ready() {
            return Poll::Ready(Outcome::Gone);
        }
        self.poll_time(context, moved)
    }

    /// Passes on what there is of the request. That a back end does not take it says nothing yet: it may have answered.
    fn pass_request(&mut self, context: &mut Context<'_>, moved: &mut u64) -> Result<(), Outcome> {
        self.watch.client_sends(false);
        while self.sends {
            match self.upstream.poll_room(context) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.give_up_request();
                    return Ok(());
                }
            }
            match self.client.poll_piece(context) {
                Poll::Pending => {
                    self.watch.client_sends(self.stage == Stage::Head && !self.request.expects);
                    break;
                }
                Poll::Ready(Ok(Piece::Data)) => {
                    let octets = self.client.data().len() as u64;
                    self.octets += octets;
                    *moved += octets;
                    self.turn.received(octets);
                    if self.route.limits.body.is_some_and(|most| self.octets > most.0) {
                        return Err(self.refuse(Refused { status: 413, why: "the body is too large" }));
                    }
                    if self.upstream.push(self.client.data()).is_err() {
                        self.give_up_request();
                    }
                    self.client.taken();
                }
                Poll::Ready(Ok(Piece::End)) => {
                    self.sends = false;
                    self.asked = Instant::now();
                    if self.upstream.end(self.client.trailers()).is_err() {
                        self.is_fine = false;
                    }
                    *moved += 1;
                }
                Poll::Ready(Err(Broken::Said(why))) => return Err(self.refuse(Refused { status: 400, why })),
                Poll::Ready(Err(_)) => return Err(Outcome::Gone),
            }
        }
        if let Poll::Ready(Err(_)) = self.upstream.poll_flush(context) {
            self.give_up_request();
        }
        Ok(())
    }

    fn give_up_request(&mut self) {
        if self.sends {
            self.keeps = false;
            self.asked = Instant::now();
        }
        self.sends = false;
        self.is_fine = false;
    }

    fn refuse(&self, refused: Refused) -> Outcome {
        match self.stage {
            Stage::Head => Outcome::Refused(refused),
            _ => Outcome::Torn { why: Broken::Said(refused.why) },
        }
    }

    /// Passes on what there is of the answer.
    fn pass_answer(
        &mut self,
        context: &mut Context<'_>,
        moved: &mut u64,
    ) -> Result<Option<Outcome>, Outcome> {
        while self.stage == Stage::Head {
            match self.upstream.poll_answer(context, self.answer) {
                Poll::Pending => {
                    // Answers before the answer proper are not held back.
                    return match self.client.poll_flush(context) {
                        Poll::Ready(Err(_)) => Err(Outcome::Gone),
                        _ => Ok(None),
                    };
                }
                Poll::Ready(Err(why)) => return Err(Outcome::NoAnswer { why, is_late: false }),
                Poll::Ready(Ok(())) => *moved += 1,
            }
            if self.answer.is_interim() {
                if !self.request.is_old {
                    self.client.interim(self.answer).map_err(|_| Outcome::Gone)?;
                }
                continue;
            }
            if self.answer.status == 101 {
                let is_wanted = !self.request.upgrade.is_empty() && !self.answer.upgrade.is_empty();
                let unasked = Broken::Said("it changes the protocol without being asked");
                return if is_wanted {
                    Ok(Some(Outcome::Switch))
                } else {
                    Err(Outcome::NoAnswer { why: unasked, is_late: false })
                };
            }
            self.begin()?;
        }
        self.watch.client_takes(false);
        while self.stage == Stage::Body {
            match self.client.poll_room(context) {
                Poll::Pending => {
                    self.watch.client_takes(true);
                    return Ok(None);
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Outcome::Gone),
            }
            match self.upstream.poll_piece(context) {
                Poll::Pending => break,
                Poll::Ready(Ok(Piece::Data)) => {
                    let octets = self.upstream.data().len() as u64;
                    *moved += octets;
                    self.turn.sent(octets);
                    self.client.push(self.upstream.data()).map_err(|_| Outcome::Gone)?;
                    self.upstream.taken();
                }
                Poll::Ready(Ok(Piece::End)) => {
                    self.client.end(self.upstream.trailers()).map_err(|_| Outcome::Gone)?;
                    self.stage = Stage::Ended;
                }
                Poll::Ready(Err(why)) => {
                    // What came before is still the client's.
                    let _ = self.client.poll_flush(context);
                    return Err(Outcome::Torn { why });
                }
            }
        }
        match self.client.poll_flush(context) {
            Poll::Ready(Ok(())) if self.stage == Stage::Ended => {
                Ok(Some(Outcome::Done { is_clean: self.is_fine && !self.sends && self.keeps }))
            }
            Poll::Ready(Ok(())) => Ok(None),
            Poll::Ready(Err(_)) => Err(Outcome::Gone),
            Poll::Pending => {
                self.watch.client_takes(true);
                Ok(None)
            }
        }
    }

    fn begin(&mut self) -> Result<(), Outcome> {
        self.turn.answered(self.answer.status);
        self.answer.dress(&self.route.headers, self.is_secure);
        // What the client has not sent by now it may never send: what it sends next is not to be taken for a request.
        self.keeps &= !self.sends;
        self.client.begin(self.answer, self.keeps).map_err(|_| Outcome::Gone)?;
        self.stage = Stage::Body;
        if self.answer.body == Body::Empty {
            self.client.end(None).map_err(|_| Outcome::Gone)?;
            self.stage = Stage::Ended;
        }
        Ok(())
    }

    fn poll_time(&mut self, context: &mut Context<'_>, moved: u64) -> Poll<Outcome> {
        let now = Instant::now();
        self.watch.moved(moved, now);
        let answer_by =
            (self.stage == Stage::Head && !self.sends).then(|| self.asked + self.route.timeouts.answer.0);
        loop {
            let watched = self.watch.deadline(now);
            let deadline = answer_by.map_or(watched, |by| by.min(watched));
            if self.timer.poll(context, deadline).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if answer_by.is_some_and(|by| by <= now) {
                let why = Broken::Said("it did not answer in time");
                return Poll::Ready(Outcome::NoAnswer { why, is_late: true });
            }
            if self.watch.is_over(now) {
                return Poll::Ready(Outcome::Slow);
            }
        }
    }
}
