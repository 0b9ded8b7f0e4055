//! Owns one connection of a caller: HTTP/2 with bounds on everything that a peer controls, and who the caller is.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use api::v1::routes_server::RoutesServer;
use bytes::Bytes;
use effect::{Code, Error};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::body::Body;
use tower_service::Service as _;

use super::doorkeeper::{Doorkeeper, Entry};
use super::{Server, failure};

/// Callers at once, for whoever listens.
pub const MOST_CONNECTIONS: usize = 64;
/// Calls of one connection under way.
const MOST_CALLS: u32 = 128;
/// Streams that were reset and are not forgotten yet, before the connection is closed.
const MOST_RESETS: usize = 32;
/// A head, in octets.
const LARGEST_HEAD: u32 = 16 << 10;
/// A message of a caller, in octets: one route with its page of maintenance.
const LARGEST_MESSAGE: usize = 1 << 20;
/// An answer: a page of routes.
const LARGEST_ANSWER: usize = 4 << 20;
/// What is kept of answers that a caller does not take.
const LARGEST_BACKLOG: usize = 1 << 20;
/// For a message to be there, once its head is.
const MESSAGE: Duration = Duration::from_secs(20);
/// A caller that says nothing for so long is asked whether it lives, and has as long to answer.
const SILENCE: Duration = Duration::from_secs(20);
/// Certificates are looked at when a connection begins: one that is revoked meanwhile is of no use for longer than this.
const LONGEST: Duration = Duration::from_secs(3600);
/// For what is under way when the end has come.
const GRACE: Duration = Duration::from_secs(5);

/// Who makes calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who may use the socket.
    Local,
    /// The holder of a certificate, with the names that it bears.
    Holder(Vec<String>),
}

/// When the end has come.
#[derive(Debug, Clone)]
pub(super) struct Over(pub(super) watch::Receiver<bool>);

impl Over {
    pub(super) async fn come(&mut self) {
        // An error says that nobody could say it any more.
        let _ = self.0.wait_for(|is_over| *is_over).await;
    }
}

/// Answers the calls of one connection, those that its keeper lets through, until the peer closes it or `over` becomes true.
pub async fn serve<S>(
    stream: S,
    (caller, keeper): (Caller, Arc<dyn Doorkeeper>),
    server: Server,
    over: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let over = Over(over);
    let calls = RoutesServer::new(server.clone())
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_ANSWER);
    let shown = caller.clone();
    let end = over.clone();
    let service = service_fn(move |request| {
        let whose = (caller.clone(), keeper.clone());
        answer((server.clone(), calls.clone()), request, whose, over.clone())
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_CALLS)
        .max_header_list_size(LARGEST_HEAD)
        .max_pending_accept_reset_streams(MOST_RESETS)
        .max_local_error_reset_streams(MOST_RESETS)
        .max_send_buf_size(LARGEST_BACKLOG)
        .keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut end = end;
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = async { tokio::select! { () = end.come() => {}, () = sleep(LONGEST) => {} } } => {
            connection.as_mut().graceful_shutdown();
            match timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!(caller = ?shown, "calls were cut when the time of grace was over"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(caller = ?shown, %error, "a caller's connection broke");
    }
}

async fn answer(
    (server, mut calls): (Server, RoutesServer<Server>),
    request: Request<Incoming>,
    (caller, keeper): (Caller, Arc<dyn Doorkeeper>),
    over: Over,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    // Every call begins with one whole message: one that comes drop by drop holds nothing for long.
    let body = match timeout(MESSAGE, Limited::new(body, LARGEST_MESSAGE + 5).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => {
            return Ok(refusal(&format!("a message is broken or has more than 1 MiB: {error}")));
        }
        Err(_) => return Ok(refusal("a message took too long")),
    };
    let entry = Entry { keeper, call: head.uri.path().to_owned(), message: body.clone() };
    let passed = match entry.pass().await {
        Ok(passed) => passed,
        Err(error) => {
            tracing::info!(call = entry.call, ?caller, %error, "a call was refused");
            // Whoever [routes.api] does not name either is told where to be named.
            let error = server.names(&caller).err().unwrap_or(error);
            return Ok(failure::status(&error).into_http());
        }
    };
    let mut request = Request::from_parts(head, Full::<Bytes>::new(body));
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(passed);
    request.extensions_mut().insert(entry);
    request.extensions_mut().insert(over);
    calls.call(request).await
}

fn refusal(why: &str) -> Response<Body> {
    failure::status(&Error::new(Code::ProxyRefused, why)).into_http()
}
