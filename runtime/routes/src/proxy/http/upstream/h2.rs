//! Owns speaking HTTP/2 to back ends: many requests over one connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Builder, ResponseFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::connect::{Place, connect};
use super::pool;
use crate::proxy::http::answer::{Answer, Body};
use crate::proxy::http::exchange::{Broken, Piece, Sink, Source, Upstream};
use crate::proxy::http::fields::Fields;
use crate::proxy::http::request::{Length, Origin, Request};
use crate::proxy::http::streams::{self, Incoming};

const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const LARGEST_HEAD: u32 = 64 << 10;

/// One request.
pub(in crate::proxy::http) struct Http2 {
    answer: ResponseFuture,
    outgoing: SendStream<Bytes>,
    incoming: Incoming,
    is_head: bool,
}

/// What takes requests to one place.
pub(in crate::proxy::http) struct Way {
    sender: h2::client::SendRequest<Bytes>,
    place: Place,
    /// The connection has had a request before.
    pub(in crate::proxy::http) is_reused: bool,
}

impl Way {
    /// Over the connection that there is.
    pub(in crate::proxy::http) async fn shared(place: &Place) -> Option<Self> {
        let sender = pool::shared(place)?;
        let Ok(sender) = sender.ready().await else {
            pool::unshare(place);
            return None;
        };
        Some(Self { sender, place: place.clone(), is_reused: true })
    }

    /// Over a new connection, which others share unless it begins with `header`.
    pub(in crate::proxy::http) async fn new(place: &Place, header: &[u8]) -> Result<Self, Broken> {
        let stream = connect(place, header, true).await?;
        let (sender, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(LARGEST_HEAD)
            .enable_push(false)
            .handshake::<_, Bytes>(stream)
            .await?;
        let own = place.clone();
        let is_shared = header.is_empty();
        tokio::task::spawn_local(async move {
            // How it ended is seen by every request over it.
            let _ = connection.await;
            if is_shared {
                pool::unshare(&own);
            }
        });
        if is_shared {
            pool::share(place.clone(), sender.clone());
        }
        let sender = sender.ready().await?;
        Ok(Self { sender, place: place.clone(), is_reused: false })
    }

    /// Sends the head of a request.
    pub(in crate::proxy::http) fn begin(
        mut self,
        request: &Request,
        origin: &Origin<'_>,
    ) -> Result<Http2, Broken> {
        let mut head = http::Request::new(());
        *head.method_mut() = request.method.clone();
        *head.version_mut() = http::Version::HTTP_2;
        let scheme = if self.place.tls.is_some() { "https" } else { "http" };
        *head.uri_mut() = Uri::builder()
            .scheme(scheme)
            .authority(request.host.as_str())
            .path_and_query(request.target.as_str())
            .build()
            .map_err(|_| Broken::Said("this target cannot be said in HTTP/2"))?;
        let fields = head.headers_mut();
        streams::fill(fields, &request.fields);
        request.each_told(origin, |name, value| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                fields.append(HeaderName::from_static(name), value);
            }
        });
        if request.trailers {
            fields.insert(http::header::TE, HeaderValue::from_static("trailers"));
        }
        if let Length::Exact(octets) = request.length {
            fields.insert(http::header::CONTENT_LENGTH, HeaderValue::from(octets));
        }
        let (answer, outgoing) = self.sender.send_request(head, request.length == Length::None)?;
        let is_head = request.method == http::Method::HEAD;
        Ok(Http2 { answer, outgoing, incoming: Incoming::default(), is_head })
    }
}

fn read(head: &HeaderMap, answer: &mut Answer, is_ended: bool, is_to_head: bool) -> Result<(), &'static str> {
    let mut lengths = head.get_all(http::header::CONTENT_LENGTH).iter();
    let octets = match lengths.next().map(|value| value.to_str().ok()?.parse::<u64>().ok()) {
        Some(None) => return Err("the length is no number"),
        Some(Some(octets)) => Some(octets),
        None => None,
    };
    if lengths.next().is_some() {
        return Err("two lengths of one body");
    }
    answer.frame(octets.is_none(), octets, is_to_head)?;
    if is_ended && answer.body != Body::Empty {
        if octets.is_some() {
            return Err("the body is shorter than it says");
        }
        answer.body = Body::Empty;
        answer.length = Some(0);
    }
    for (name, value) in head {
        answer.take(name.as_str().as_bytes(), value.as_bytes().trim_ascii());
    }
    Ok(())
}

impl Upstream for Http2 {
    fn poll_answer(&mut self, context: &mut Context<'_>, answer: &mut Answer) -> Poll<Result<(), Broken>> {
        let (head, body) = ready!(Pin::new(&mut self.answer).poll(context))?.into_parts();
        answer.clear();
        answer.status = head.status.as_u16();
        answer.reason.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
        read(&head.headers, answer, body.is_end_stream(), self.is_head).map_err(Broken::Said)?;
        answer.keeps = true;
        self.incoming = Incoming::new(body);
        Poll::Ready(Ok(()))
    }
}

impl Source for Http2 {
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

impl Sink for Http2 {
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        streams::poll_room(&mut self.outgoing, context)
    }

    fn push(&mut self, data: &[u8]) -> Result<(), Broken> {
        streams::push(&mut self.outgoing, data)
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<(), Broken> {
        streams::end(&mut self.outgoing, trailers)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }
}
