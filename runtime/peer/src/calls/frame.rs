//! Owns one connection of a caller: HTTP/2 with bounds on everything that a peer controls.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::body::Body;

/// What one connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Calls under way.
    pub calls: u32,
    /// Streams that were reset and are not forgotten yet, before the connection is closed.
    pub resets: usize,
    /// A head, in octets.
    pub head: u32,
    /// What is kept of an answer that the caller does not take, in octets.
    pub backlog: usize,
    /// A caller that says nothing for so long is asked whether it lives, and has as long to answer. Nobody on this machine
    /// needs to be asked: the kernel tells of its end.
    pub silence: Option<Duration>,
    /// Who the caller is, is looked at when a connection begins: it lasts no longer than this.
    pub longest: Option<Duration>,
    /// For what is under way when the end has come.
    pub grace: Duration,
}

/// When the end has come.
#[derive(Debug, Clone)]
pub struct Over(pub watch::Receiver<bool>);

impl Over {
    /// Waits for it.
    pub async fn come(&mut self) {
        // An error says that nobody could say it any more.
        let _ = self.0.wait_for(|is_over| *is_over).await;
    }

    /// Whether it has.
    #[must_use]
    pub fn has_come(&self) -> bool {
        *self.0.borrow()
    }
}

/// Answers the calls of one connection until the peer closes it or `over` has come.
///
/// # Errors
/// Where the connection broke.
pub async fn serve<S, F>(
    stream: S,
    bounds: Bounds,
    mut over: Over,
    answer: impl Fn(Request<Incoming>) -> F,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(|request| {
        let answered = answer(request);
        async { Ok::<_, Infallible>(answered.await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.calls)
        .max_header_list_size(bounds.head)
        .max_pending_accept_reset_streams(bounds.resets)
        .max_local_error_reset_streams(bounds.resets)
        .max_send_buf_size(bounds.backlog)
        .keep_alive_interval(bounds.silence);
    if let Some(silence) = bounds.silence {
        builder.keep_alive_timeout(silence);
    }
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let longest = async {
        match bounds.longest {
            Some(longest) => sleep(longest).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = &mut connection => return ended,
        () = over.come() => {}
        () = longest => {}
    }
    connection.as_mut().graceful_shutdown();
    // What is cut here had its time.
    timeout(bounds.grace, connection).await.unwrap_or(Ok(()))
}

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It is larger than it may be.
    Large,
    /// It took too long.
    Slow,
    /// The caller broke it off.
    Broken(String),
}

/// The message of a call that has one, whole: one that comes drop by drop holds nothing for long.
///
/// # Errors
/// Why it is not taken.
pub async fn whole(body: Incoming, largest: usize, patience: Duration) -> Result<Bytes, Refused> {
    // Five octets stand before each message.
    let body = Limited::new(body, largest + 5);
    match timeout(patience, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refused::Large),
        Ok(Err(error)) => Err(Refused::Broken(error.to_string())),
        Err(_) => Err(Refused::Slow),
    }
}
