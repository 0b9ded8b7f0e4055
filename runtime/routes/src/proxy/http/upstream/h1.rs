//! Owns speaking HTTP/1.1 to back ends.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::connect::{Place, Stream};
use super::pool;
use crate::proxy::http::answer::{Answer, Body};
use crate::proxy::http::body::{Reader, write_chunk, write_end};
use crate::proxy::http::exchange::{Broken, Piece, Sink, Source, Upstream};
use crate::proxy::http::fields::Fields;
use crate::proxy::http::h1::{poll_piece, write_length};
use crate::proxy::http::head::{Search, read_answer};
use crate::proxy::http::request::{Length, Origin, Request};
use crate::proxy::http::wire::Wire;

const LARGEST_HEAD: usize = 64 << 10;
/// A request that must not be done twice goes over a connection only where the back end can hardly be closing it just now.
const FRESH: Duration = Duration::from_secs(1);

/// One request over a connection.
pub(in crate::proxy::http) struct Http1 {
    wire: Wire<Stream>,
    search: Search,
    body: Reader,
    at_hand: usize,
    is_chunked: bool,
    is_head: bool,
    keeps: bool,
    /// The connection has had a request before.
    pub(in crate::proxy::http) is_reused: bool,
    /// Some of the answer has come.
    pub(in crate::proxy::http) has_heard: bool,
}

impl Http1 {
    /// Over a connection that waits for a request.
    pub(in crate::proxy::http) fn waiting(place: &Place, request: &Request) -> Option<Self> {
        let longest = if request.is_idempotent() { Duration::MAX } else { FRESH };
        pool::take(place, longest).map(|wire| Self::over(wire, true))
    }

    /// Over a new connection.
    pub(in crate::proxy::http) fn new(stream: Stream) -> Self {
        Self::over(Wire::new(stream), false)
    }

    fn over(wire: Wire<Stream>, is_reused: bool) -> Self {
        Self {
            wire,
            search: Search::default(),
            body: Reader::default(),
            at_hand: 0,
            is_chunked: false,
            is_head: false,
            keeps: false,
            is_reused,
            has_heard: false,
        }
    }

    /// Writes the head of a request.
    pub(in crate::proxy::http) fn begin(&mut self, request: &Request, origin: &Origin<'_>) {
        self.is_chunked = request.length == Length::Unknown;
        self.is_head = request.method == http::Method::HEAD;
        let out = &mut self.wire.output;
        let mut line = |parts: &[&[u8]]| {
            for part in parts {
                out.extend_from_slice(part);
            }
            out.extend_from_slice(b"\r\n");
        };
        line(&[request.method.as_str().as_bytes(), b" ", request.target.as_bytes(), b" HTTP/1.1"]);
        line(&[b"host: ", request.host.as_bytes()]);
        out.extend_from_slice(request.fields.wire());
        request.each_told(origin, |name, value| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        });
        match request.length {
            Length::None => {}
            Length::Exact(octets) => write_length(octets, out),
            Length::Unknown => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        if request.expects {
            out.extend_from_slice(b"expect: 100-continue\r\n");
        }
        if !request.upgrade.is_empty() {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
            out.extend_from_slice(&request.upgrade);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Keeps the connection for the next request, where it can take one.
    pub(in crate::proxy::http) fn keep(mut self, place: Place) {
        let is_clean = self.body.is_ended() && self.wire.input().is_empty() && self.wire.is_written();
        if self.keeps && is_clean {
            self.wire.release();
            pool::give(place, self.wire);
        }
    }

    pub(in crate::proxy::http) fn into_wire(self) -> Wire<Stream> {
        self.wire
    }
}

impl Upstream for Http1 {
    fn poll_answer(&mut self, context: &mut Context<'_>, answer: &mut Answer) -> Poll<Result<(), Broken>> {
        loop {
            let found = self.search.find(self.wire.input()).map_err(|refused| Broken::Said(refused.why))?;
            if let Some(length) = found {
                read_answer(&self.wire.input()[..length], answer, self.is_head).map_err(Broken::Said)?;
                self.wire.consume(length);
                break;
            }
            let octets = match ready!(self.wire.poll_fill(context, LARGEST_HEAD)) {
                Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                    return Poll::Ready(Err(Broken::Said("the head of its answer is too large")));
                }
                other => other?,
            };
            if octets == 0 {
                return Poll::Ready(Err(Broken::Said("it closed the connection without an answer")));
            }
            self.has_heard = true;
        }
        match answer.body {
            Body::Empty => self.body.length(0),
            Body::Length(octets) => self.body.length(octets),
            Body::Marked => self.body.chunks(),
            Body::Close => self.body.until_close(),
        }
        self.keeps = answer.keeps;
        Poll::Ready(Ok(()))
    }
}

impl Source for Http1 {
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

impl Sink for Http1 {
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
