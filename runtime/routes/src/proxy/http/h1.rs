//! Owns connections of clients that speak HTTP/1: one request after another, answers in their order.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::answer::{Answer, Body};
use super::body::{Next, Reader, write_chunk, write_end};
use super::dispatch::{Ended, Visit, answer};
use super::exchange::{Broken, Client, Piece, Sink, Source};
use super::fields::Fields;
use super::head::{Search, read_request};
use super::request::{Length, Refused, Request};
use super::watch::Timer;
use super::wire::Wire;
use crate::proxy::arrival::Arrival;
use crate::proxy::rewind::Peered;

/// No head is larger.
const LARGEST_HEAD: usize = 64 << 10;
/// Once a head has begun, it is there within that.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// So long may a connection be kept without a request.
const KEPT_FOR: Duration = Duration::from_secs(75);
/// So long once another process serves new connections.
const LAST_WITHIN: Duration = Duration::from_secs(10);
/// What is still read, and for how long, of somebody who gets an answer before all was sent: the answer would be lost in a reset.
const LINGER: Duration = Duration::from_secs(2);
const MOST_LINGERING: usize = 1 << 20;

/// A connection.
pub(super) struct Connection<S> {
    pub(super) wire: Wire<S>,
    body: Reader,
    at_hand: usize,
    is_old: bool,
    is_head: bool,
    is_chunked: bool,
    /// What the last answer said of the connection.
    keeps: bool,
}

/// Serves the requests of a connection until one of both sides has enough.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Peered + Unpin + 'static>(stream: S, arrival: Arrival) {
    let mut connection = Connection {
        wire: Wire::new(stream),
        body: Reader::default(),
        at_hand: 0,
        is_old: false,
        is_head: false,
        is_chunked: false,
        keeps: true,
    };
    let visit = Visit::new(arrival);
    let arrival = &visit.arrival;
    let mut request = Request::default();
    let mut reply = Answer::default();
    let mut timer = Timer::default();
    let mut over = Box::pin(arrival.is_over());
    let mut is_first = true;
    loop {
        let length = match connection.head(&mut timer, &mut over, is_first).await {
            Ok(Some(length)) => length,
            Ok(None) => return,
            Err(refused) => return connection.refuse(refused, &mut reply, &mut timer).await,
        };
        is_first = false;
        let head = &connection.wire.input()[..length];
        if let Err(refused) = read_request(head, &mut request, arrival.trusted) {
            return connection.refuse(refused, &mut reply, &mut timer).await;
        }
        connection.wire.consume(length);
        connection.begin_request(&request);
        request.keeps &= !*arrival.over.borrow();
        match answer(&mut connection, &mut request, &mut reply, length, &visit, &mut timer).await {
            Ended::Keep => {}
            Ended::Close => return connection.linger(&mut timer).await,
            Ended::Abort | Ended::Gone => return,
            Ended::Tunnel(tunnel) => {
                drop((over, request, reply, timer));
                let Connection { wire, .. } = connection;
                return tunnel.run(wire).await;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Peered + Unpin> Connection<S> {
    fn begin_request(&mut self, request: &Request) {
        match request.length {
            Length::None => self.body.length(0),
            Length::Exact(octets) => self.body.length(octets),
            Length::Unknown => self.body.chunks(),
        }
        self.is_old = request.is_old;
        self.is_head = request.method == http::Method::HEAD;
    }

    /// Waits for the next head; none where the connection is over instead.
    async fn head(
        &mut self,
        timer: &mut Timer,
        over: &mut Pin<Box<impl Future<Output = ()>>>,
        is_first: bool,
    ) -> Result<Option<usize>, Refused> {
        let mut search = Search::default();
        if let Some(length) = search.find(self.wire.input())? {
            return Ok(Some(length));
        }
        let now = Instant::now();
        let mut has_begun = is_first || !self.wire.input().is_empty();
        let mut deadline = now + if has_begun { HEAD_WITHIN } else { KEPT_FOR };
        let mut is_last = false;
        poll_fn(|context| {
            loop {
                match self.wire.poll_fill(context, LARGEST_HEAD) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                        return Poll::Ready(Err(Refused { status: 431, why: "the head is too large" }));
                    }
                    Poll::Ready(_) => return Poll::Ready(Ok(None)),
                    Poll::Pending => break,
                }
                if !has_begun {
                    has_begun = true;
                    deadline = Instant::now() + HEAD_WITHIN;
                }
                if let Some(length) = search.find(self.wire.input())? {
                    return Poll::Ready(Ok(Some(length)));
                }
            }
            let is_idle = self.wire.input().is_empty();
            // A request may be on its way, and would be lost with a connection that is closed at once. It is answered,
            // and its client told to go elsewhere.
            if is_idle && !is_first && !is_last && over.as_mut().poll(context).is_ready() {
                is_last = true;
                deadline = deadline.min(Instant::now() + LAST_WITHIN);
            }
            if timer.poll(context, deadline).is_ready() {
                let late = Refused { status: 408, why: "the head did not come in time" };
                return Poll::Ready(if is_idle { Ok(None) } else { Err(late) });
            }
            Poll::Pending
        })
        .await
    }

    /// Answers a request that is not taken, and closes.
    async fn refuse(mut self, refused: Refused, reply: &mut Answer, timer: &mut Timer) {
        let text = format!("{}\n", refused.why);
        reply.own(refused.status, "text/plain; charset=utf-8", text.as_bytes(), false);
        self.is_head = false;
        self.is_old = false;
        let _ = self.begin(reply, false);
        let _ = self.push(text.as_bytes());
        self.linger(timer).await;
    }

    /// Closes so that what was written arrives: what the client is still sending is read for a while, and dropped.
    async fn linger(mut self, timer: &mut Timer) {
        let by = Instant::now() + LINGER;
        let ending = async {
            poll_fn(|context| self.wire.poll_write(context)).await?;
            self.wire.stream.shutdown().await?;
            let mut left = MOST_LINGERING;
            loop {
                let held = self.wire.input().len();
                self.wire.consume(held);
                let octets = poll_fn(|context| self.wire.poll_fill(context, LARGEST_HEAD)).await?;
                left = left.saturating_sub(octets);
                if octets == 0 || left == 0 {
                    return Ok::<_, std::io::Error>(());
                }
            }
        };
        let _ = timer.by(by, ending).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Source for Connection<S> {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        poll_piece(&mut self.wire, &mut self.body, &mut self.at_hand, context)
    }

    fn data(&self) -> &[u8] {
        &self.wire.input()[..self.at_hand]
    }

    fn taken(&mut self) {
        self.body.taken(self.at_hand);
        self.wire.consume(self.at_hand);
        self.at_hand = 0;
    }

    fn trailers(&self) -> Option<&Fields> {
        Some(&self.body.trailers).filter(|trailers| !trailers.is_empty())
    }
}

/// The next piece of a body that comes over a wire of HTTP/1.
pub(super) fn poll_piece<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    body: &mut Reader,
    at_hand: &mut usize,
    context: &mut Context<'_>,
) -> Poll<Result<Piece, Broken>> {
    loop {
        match body.next(wire.input()).map_err(Broken::Said)? {
            Next::Skip(octets) => wire.consume(octets),
            Next::Data(octets) => {
                *at_hand = octets;
                return Poll::Ready(Ok(Piece::Data));
            }
            Next::End => return Poll::Ready(Ok(Piece::End)),
            Next::More => {
                if ready!(wire.poll_fill(context, LARGEST_HEAD))? == 0 {
                    body.close().map_err(|_| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink for Connection<S> {
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.wire.poll_room(context).map_err(Broken::Io)
    }

    fn push(&mut self, data: &[u8]) -> Result<(), Broken> {
        match self.is_chunked {
            true => write_chunk(data, &mut self.wire.output),
            false => self.wire.output.extend_from_slice(data),
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<(), Broken> {
        if self.is_chunked {
            write_end(trailers, &mut self.wire.output);
        }
        Ok(())
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.wire.is_written() {
            return Poll::Ready(Ok(()));
        }
        self.wire.poll_write(context).map_err(Broken::Io)
    }
}

impl<S: AsyncRead + AsyncWrite + Peered + Unpin> Client for Connection<S> {
    const PROTOCOL: &'static str = "HTTP/1.1";

    fn begin(&mut self, answer: &Answer, keeps: bool) -> Result<(), Broken> {
        let has_body = answer.body != Body::Empty;
        let is_marked = has_body && !matches!(answer.body, Body::Length(_));
        self.is_chunked = is_marked && !self.is_old;
        let out = &mut self.wire.output;
        status_line(answer, out);
        out.extend_from_slice(answer.fields.wire());
        if self.is_chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        } else if let Some(length) = answer.length {
            write_length(length, out);
        } else if !has_body && !self.is_head && !matches!(answer.status, 100..200 | 204 | 304) {
            write_length(0, out);
        }
        if answer.status == 101 {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
            out.extend_from_slice(&answer.upgrade);
            out.extend_from_slice(b"\r\n");
        } else if !keeps || (is_marked && self.is_old) {
            out.extend_from_slice(b"connection: close\r\n");
            self.keeps = false;
        } else if self.is_old {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn interim(&mut self, answer: &Answer) -> Result<(), Broken> {
        let out = &mut self.wire.output;
        status_line(answer, out);
        out.extend_from_slice(answer.fields.wire());
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn is_kept(&self) -> bool {
        self.keeps
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Before the end of the body it is seen by whoever reads that; what follows it is the next request's.
        while self.body.is_ended() && self.wire.input().is_empty() {
            match ready!(self.wire.poll_fill(context, LARGEST_HEAD)) {
                Ok(1..) => {}
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    fn has_left(&mut self) -> bool {
        self.wire.stream.has_ended()
    }
}

fn status_line(answer: &Answer, out: &mut Vec<u8>) {
    let status = answer.status;
    let digit = |of: u16| b'0' + u8::try_from(status / of % 10).unwrap_or_default();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
    out.extend_from_slice(&answer.reason);
    out.extend_from_slice(b"\r\n");
}

/// Writes how long a body is.
pub(super) fn write_length(length: u64, out: &mut Vec<u8>) {
    use std::io::Write;
    let _ = write!(out, "content-length: {length}\r\n");
}
