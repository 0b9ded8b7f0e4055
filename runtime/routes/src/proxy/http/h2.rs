//! Owns connections of clients that speak HTTP/2: many requests at once, each a task of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::answer::{Answer, Body};
use super::dispatch::{Ended, Visit, answer, refuse};
use super::exchange::{Broken, Client, Piece, Sink, Source};
use super::fields::{Fields, Kind, kind};
use super::request::{Length, Refused, Request, method, refused};
use super::streams::{self, Incoming};
use super::target::{is_authority, is_path, name_of};
use super::watch::Timer;
use crate::proxy::arrival::Arrival;

const MOST_STREAMS: u32 = 128;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const LARGEST_HEAD: u32 = 64 << 10;
/// What waits to be written for all streams of a connection together, each.
const SEND_BUFFER: usize = 128 << 10;
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// So long may a connection be kept without a request.
const KEPT_FOR: Duration = Duration::from_secs(75);
const END_WITHIN: Duration = Duration::from_secs(5);
/// Requests that a client may take back before it is seen as one that does nothing else.
const MOST_RESETS: u32 = 100;

/// What the streams of a connection tell of themselves.
#[derive(Default)]
struct Streams {
    active: Cell<u32>,
    answered: Cell<u32>,
    reset: Cell<u32>,
}

impl Streams {
    fn are_flooding(&self) -> bool {
        self.reset.get() > MOST_RESETS && self.reset.get() > self.answered.get()
    }
}

struct Active(Rc<Streams>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

/// Serves the requests of a connection until one of both sides has enough.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S, arrival: Arrival) {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MOST_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LARGEST_HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(Some(64));
    let mut timer = Timer::default();
    let handshake = builder.handshake::<_, Bytes>(stream);
    let Some(Ok(connection)) = timer.by(Instant::now() + BEGIN_WITHIN, handshake).await else { return };
    let visit = Rc::new(Visit::new(arrival));
    run(connection, &visit, timer).await;
}

async fn run<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    mut connection: Connection<S, Bytes>,
    visit: &Rc<Visit>,
    mut timer: Timer,
) {
    let streams = Rc::new(Streams::default());
    let mut over = std::pin::pin!(visit.arrival.is_over());
    let mut is_ending = false;
    let mut idle_since = Instant::now();
    poll_fn(|context| {
        loop {
            match connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    idle_since = Instant::now();
                    if streams.are_flooding() {
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        is_ending = true;
                    }
                    streams.active.set(streams.active.get() + 1);
                    let active = Active(Rc::clone(&streams));
                    tokio::task::spawn_local(stream(request, respond, Rc::clone(visit), active));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if !is_ending && over.as_mut().poll(context).is_ready() {
            connection.graceful_shutdown();
            is_ending = true;
            idle_since = Instant::now();
            context.waker().wake_by_ref();
        }
        loop {
            let now = Instant::now();
            if streams.active.get() > 0 {
                idle_since = now;
            }
            let deadline = idle_since + if is_ending { END_WITHIN } else { KEPT_FOR };
            if timer.poll(context, deadline).is_pending() {
                return Poll::Pending;
            }
            if streams.active.get() == 0 && is_ending {
                return Poll::Ready(());
            }
            if streams.active.get() == 0 {
                connection.graceful_shutdown();
                is_ending = true;
                idle_since = Instant::now();
                context.waker().wake_by_ref();
            }
        }
    })
    .await;
}

/// Serves one request.
async fn stream(
    incoming: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    visit: Rc<Visit>,
    active: Active,
) {
    let (head, body) = incoming.into_parts();
    let mut request = Request::default();
    let mut reply = Answer::default();
    let mut timer = Timer::default();
    let read = read_request(&head, body.is_end_stream(), &mut request, visit.arrival.trusted);
    let mut client = Stream { incoming: Incoming::new(body), respond, outgoing: None, is_ended: false };
    let ended = match read {
        Ok(length) => answer(&mut client, &mut request, &mut reply, length, &visit, &mut timer).await,
        Err(refused) => refuse(&mut client, refused, &mut reply, &mut timer).await,
    };
    if matches!(ended, Ended::Abort | Ended::Gone | Ended::Tunnel(_)) {
        client.reset();
    }
    let count = if matches!(ended, Ended::Gone) { &active.0.reset } else { &active.0.answered };
    count.set(count.get() + 1);
}

/// Reads a head into `request`; gives its length. What h2 refuses by itself does not come so far.
fn read_request(
    head: &http::request::Parts,
    is_ended: bool,
    request: &mut Request,
    is_trusted: bool,
) -> Result<usize, Refused> {
    request.clear();
    request.method = method(head.method.as_str())?;
    read_host(head, request)?;
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let is_asterisk = target == "*" && request.method == http::Method::OPTIONS;
    if !is_asterisk && !is_path(target.as_bytes()) {
        return refused(400, "the target is no path");
    }
    request.target.push_str(target);
    let mut octets = None;
    let mut length = target.len() + request.host.len();
    let mut cookies = Vec::new();
    for (name, value) in &head.headers {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes().trim_ascii());
        length += name.len() + value.len() + 4;
        match kind(name) {
            Kind::ContentLength => {
                let is_number = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
                let number = str::from_utf8(value).ok().filter(|_| is_number);
                let number = number.and_then(|number| number.parse::<u64>().ok());
                if number.is_none() || octets.is_some() {
                    return refused(400, "the length of the body is not clear");
                }
                octets = number;
            }
            Kind::Connection | Kind::TransferEncoding | Kind::Upgrade => {
                return refused(400, "a field that HTTP/2 does not have");
            }
            Kind::Expect => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return refused(417, "this expectation cannot be met");
                }
                request.expects = true;
            }
            Kind::Te => request.trailers = value.eq_ignore_ascii_case(b"trailers"),
            // HTTP/2 may take a cookie apart; HTTP/1 knows one field (RFC 9113, section 8.2.3).
            Kind::Cookie => {
                if !cookies.is_empty() {
                    cookies.extend_from_slice(b"; ");
                }
                cookies.extend_from_slice(value);
            }
            _ => request.take(name, value, is_trusted),
        }
    }
    if !cookies.is_empty() {
        request.fields.push(b"cookie", &cookies);
    }
    request.length = match octets {
        Some(octets) if is_ended && octets > 0 => return refused(400, "the body is shorter than it says"),
        Some(octets) => Length::Exact(octets),
        None if is_ended => Length::None,
        None => Length::Unknown,
    };
    Ok(length)
}

fn read_host(head: &http::request::Parts, request: &mut Request) -> Result<(), Refused> {
    let mut hosts = head.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return refused(400, "it takes one host");
    }
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return refused(400, "authority and host differ");
        }
        (Some(authority), _) => authority,
        (None, Some(host)) => host,
        (None, None) => return refused(400, "it takes one host"),
    };
    if !is_authority(host) {
        return refused(400, "the host is no name");
    }
    request.host.extend(host.iter().map(|byte| char::from(*byte)));
    name_of(host, &mut request.name);
    Ok(())
}

/// One stream.
struct Stream {
    incoming: Incoming,
    respond: SendResponse<Bytes>,
    outgoing: Option<SendStream<Bytes>>,
    is_ended: bool,
}

impl Stream {
    fn reset(&mut self) {
        match &mut self.outgoing {
            Some(outgoing) => outgoing.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

impl Source for Stream {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        self.incoming.poll_piece(context)
    }

    fn data(&self) -> &[u8] {
        self.incoming.data()
    }

    fn taken(&mut self) {
        self.incoming.taken();
    }

    fn trailers(&self) -> Option<&Fields> {
        self.incoming.trailers()
    }
}

impl Sink for Stream {
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match &mut self.outgoing {
            Some(outgoing) => streams::poll_room(outgoing, context),
            None => Poll::Ready(Err(Broken::Said("the answer has not begun"))),
        }
    }

    fn push(&mut self, data: &[u8]) -> Result<(), Broken> {
        match &mut self.outgoing {
            Some(outgoing) => streams::push(outgoing, data),
            None => Err(Broken::Said("the answer has not begun")),
        }
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<(), Broken> {
        match &mut self.outgoing {
            Some(outgoing) if !self.is_ended => streams::end(outgoing, trailers),
            _ => Ok(()),
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }
}

impl Client for Stream {
    const PROTOCOL: &'static str = "HTTP/2";

    fn begin(&mut self, answer: &Answer, _: bool) -> Result<(), Broken> {
        self.is_ended = answer.body == Body::Empty;
        let mut response = head_of(answer)?;
        if let Some(length) = answer.length {
            response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        self.outgoing = Some(self.respond.send_response(response, self.is_ended)?);
        Ok(())
    }

    fn interim(&mut self, answer: &Answer) -> Result<(), Broken> {
        Ok(self.respond.send_informational(head_of(answer)?)?)
    }

    fn is_kept(&self) -> bool {
        true
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.outgoing {
            Some(outgoing) => outgoing.poll_reset(context).map(drop),
            None => self.respond.poll_reset(context).map(drop),
        }
    }

    fn has_left(&mut self) -> bool {
        // What reads the connection goes on meanwhile.
        self.poll_gone(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

fn head_of(answer: &Answer) -> Result<Response<()>, Broken> {
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(answer.status).map_err(|_| Broken::Said("this is no status"))?;
    let mut fields = HeaderMap::with_capacity(16);
    streams::fill(&mut fields, &answer.fields);
    *response.headers_mut() = fields;
    Ok(response)
}
