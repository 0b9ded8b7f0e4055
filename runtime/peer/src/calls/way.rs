//! Owns a connection to another mcrun over which calls are made, and what it says of its own end.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tonic::body::Body;

/// For the connection's own word on why it ended, once a call over it has failed.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A head of an answer, in octets.
const LARGEST_HEAD: u32 = 32 << 10;

/// Requests go over it; cheap to copy.
#[derive(Debug, Clone)]
pub struct Way {
    sender: http2::SendRequest<Body>,
    ended: watch::Receiver<Option<Broken>>,
}

/// Why a connection broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Whoever was there speaks something else.
    Garbage(String),
    /// It went away.
    Gone(String),
}

impl Way {
    /// Begins to speak over `stream`. A peer that says nothing for `silence` is asked whether it lives.
    ///
    /// # Errors
    /// Why the connection broke.
    pub async fn over<S>(stream: S, silence: Option<Duration>) -> Result<Self, Broken>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(silence).max_header_list_size(LARGEST_HEAD);
        if let Some(silence) = silence {
            builder.keep_alive_timeout(silence);
        }
        let (sender, connection) =
            builder.handshake::<_, Body>(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let (told, ended) = watch::channel(None);
        tokio::spawn(async move {
            let why = match connection.await {
                Ok(()) => Broken::Gone("it closed the connection".into()),
                Err(error) => broken(&error),
            };
            told.send_replace(Some(why));
        });
        Ok(Self { sender, ended })
    }

    /// Why a call over it broke.
    pub async fn reason(&self, error: &tonic::Status) -> Broken {
        let mut ended = self.ended.clone();
        let last = tokio::time::timeout(LAST_WORDS, ended.wait_for(Option::is_some)).await;
        match last {
            Ok(Ok(why)) => why.clone().unwrap_or_else(|| broken(error)),
            _ => broken(error),
        }
    }
}

impl tower_service::Service<Request<Body>> for Way {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

/// Everything that led to `error`, the error itself first.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| below(*error)).take(8)
}

/// What an I/O error wraps is not always among its sources.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn broken(error: &(dyn StdError + 'static)) -> Broken {
    let words = chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    match chain(error).any(|error| error.is::<std::io::Error>()) || !is_of_protocol(&words) {
        true => Broken::Gone(words),
        false => Broken::Garbage(words),
    }
}

/// RFC 9113, section 7, as they are rendered: the peer speaks something else.
fn is_of_protocol(words: &str) -> bool {
    let signs = [
        "protocol error",
        "frame with invalid size",
        "unspecific protocol",
        "FRAME_SIZE",
        "PROTOCOL_ERROR",
        "invalid",
    ];
    signs.iter().any(|sign| words.contains(sign))
}
