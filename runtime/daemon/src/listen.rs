//! Owns listening: HTTP/1.1 on one socket, plain or by TLS, with a bound on everything that a peer decides: the number of
//! connections, the time and size of heads and bodies, the time that nothing happens.
//!
//! What a proxy before it could read in another way is refused here: a request without exactly one host, one for another
//! host than it names, one with a length that is not sure. A chunked request is the last of its connection, as hyper lets
//! a second length beside it pass.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

/// What answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The answer to a request of `peer`, whose body is there.
    fn handle(
        &self,
        request: Request<Bytes>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Bytes>> + Send;
}

/// How much of anything a peer may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// For the TLS handshake, and for the first head after it.
    pub head: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// From one answer to the end of the next head: for taking the answer, for keeping the connection, for asking.
    pub idle: Duration,
    /// For what is under way when the end has come.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head: Duration::from_secs(10),
            body: Duration::from_secs(20),
            body_bytes: 64 * 1024,
            head_bytes: 16 * 1024,
            idle: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// Headers of one request.
const MOST_HEADERS: usize = 64;
/// After a failure that is not of one connection, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves `handler` on `listener` until `shutdown` becomes true, or its sender is gone; then what is under way is
/// finished, within the time of grace.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    handler: H,
    limits: Limits,
    shutdown: watch::Receiver<bool>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    let mut end = shutdown.clone();
    let mut end = pin!(ended(&mut end));
    loop {
        // What has ended is let go of, so that the set does not grow.
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut end => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = Connection { handler: handler.clone(), limits: limits.clone(), peer };
                let (tls, shutdown) = (tls.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection.run(stream, tls, shutdown).await;
                    drop(place);
                });
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // New peers learn at once that nobody listens any more.
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.grace, finished).await.is_err() {
        tracing::warn!("connections were cut when the time of grace was over");
        connections.shutdown().await;
    }
}

async fn ended(shutdown: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, and nobody could say it any more.
    let _ = shutdown.wait_for(|is_over| *is_over).await;
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Connection<H> {
    handler: H,
    limits: Limits,
    peer: SocketAddr,
}

impl<H: Handler> Connection<H> {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>, shutdown: watch::Receiver<bool>) {
        // Answers are small and whole: waiting for more only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection is gone already");
        }
        let Some(tls) = tls else { return self.talk(stream, shutdown).await };
        match timeout(self.limits.head, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.talk(stream, shutdown).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %self.peer, "a TLS handshake took too long"),
        }
    }

    async fn talk<S>(self, stream: S, mut shutdown: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (busy, mut activity) = watch::channel(false);
        let (limits, peer) = (self.limits.clone(), self.peer);
        let service = service_fn(|request: Request<Incoming>| {
            busy.send_replace(true);
            let answering = self.answer(request);
            let busy = &busy;
            async move {
                let response = answering.await;
                busy.send_replace(false);
                Ok::<_, Infallible>(response.map(Full::new))
            }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head.max(limits.idle))
            .max_headers(MOST_HEADERS)
            .max_buf_size(limits.head_bytes.max(8192));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut end = pin!(ended(&mut shutdown));
        let mut is_over = false;
        let mut deadline = Instant::now() + limits.head;
        let mut is_busy = false;
        loop {
            tokio::select! {
                outcome = &mut connection => {
                    if let Err(error) = outcome {
                        tracing::debug!(%peer, %error, "a connection broke");
                    }
                    return;
                }
                () = &mut end, if !is_over => {
                    is_over = true;
                    deadline = Instant::now() + limits.grace;
                    connection.as_mut().graceful_shutdown();
                }
                Ok(()) = activity.changed() => {
                    is_busy = *activity.borrow_and_update();
                    if !is_over {
                        deadline = Instant::now() + limits.idle;
                    }
                }
                // Whoever neither asks nor takes the answer makes room for others.
                () = sleep_until(deadline), if !is_busy || is_over => {
                    tracing::debug!(%peer, "a connection was idle for too long");
                    return;
                }
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Bytes> {
        if let Err(why) = check(&request) {
            return refusal(StatusCode::BAD_REQUEST, why);
        }
        if request.body().size_hint().lower() > self.limits.body_bytes as u64 {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        }
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let (head, body) = request.into_parts();
        let body = timeout(self.limits.body, Limited::new(body, self.limits.body_bytes).collect()).await;
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
            }
            Ok(Err(_)) => return refusal(StatusCode::BAD_REQUEST, "the body is broken"),
            Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        };
        let mut response = self.handler.handle(Request::from_parts(head, body), self.peer).await;
        if is_chunked {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// An answer after which the connection is closed: where the next request begins is not sure.
fn refusal(status: StatusCode, why: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(why.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// RFC 9112, sections 3.2 and 6.3.
fn check(request: &Request<Incoming>) -> Result<(), &'static str> {
    let headers = request.headers();
    let host = one(headers, &HOST)?;
    if host.is_none() && request.version() != Version::HTTP_10 {
        return Err("a request names its host");
    }
    if let (Some(authority), Some(host)) = (request.uri().authority(), host)
        && !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return Err("a request is for the host that it names");
    }
    let encoding = one(headers, &TRANSFER_ENCODING)?;
    one(headers, &CONTENT_LENGTH)?;
    match encoding {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Err("a body is plain or chunked")
        }
        _ => Ok(()),
    }
}

/// The only value of a header, if there is one.
fn one<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Result<Option<&'a HeaderValue>, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err("a header is given twice"),
    }
}
