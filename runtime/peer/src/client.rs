//! Owns one exchange: a question, and the whole answer or why there is none.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error, Result};
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;
use url::{Host, Url};

use crate::connect::Connector;
use crate::failure::{Failure, Kind, host};

/// Idle connections are kept for the next question, and not for ever.
const IDLE: Duration = Duration::from_secs(20);
const MOST_IDLE: usize = 4;

/// How much of a peer is put up with.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a connection may take, TLS included.
    pub connect: Duration,
    /// How long one answer may take, its connection included.
    pub answer: Duration,
    /// Octets of one answer.
    pub largest: usize,
}

/// One question. Headers that hold secrets are marked as sensitive by whoever puts them there.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is done.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// Beside `host` and `user-agent`.
    pub headers: HeaderMap,
    /// What is sent; nothing where it is empty.
    pub body: Bytes,
}

impl Question {
    /// One without headers and body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// The whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status, whatever it is.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The way to a peer. Nothing is read or connected before the first question.
pub struct Client {
    kind: Kind,
    limits: Limits,
    ca: Option<PathBuf>,
    socket: Option<PathBuf>,
    http: OnceCell<legacy::Client<Connector, Full<Bytes>>>,
}

impl Client {
    /// Over TCP, with TLS where the address says `https`: then the peer's certificate is signed by one of those in the file
    /// `ca` (PEM), else by one of the system's.
    #[must_use]
    pub fn new(kind: Kind, limits: Limits, ca: Option<PathBuf>) -> Self {
        Self { kind, limits, ca, socket: None, http: OnceCell::new() }
    }

    /// Over the unix socket at `socket`, whatever host an address names.
    #[must_use]
    pub fn at_socket(kind: Kind, limits: Limits, socket: PathBuf) -> Self {
        Self { kind, limits, ca: None, socket: Some(socket), http: OnceCell::new() }
    }

    /// How errors name where `url` leads.
    #[must_use]
    pub fn place(&self, url: &Url) -> String {
        self.socket.as_ref().map_or_else(|| host(url), |socket| socket.display().to_string())
    }

    /// Asks once.
    ///
    /// # Errors
    /// In the codes of the client's [`Kind`]: unavailable where there is no answer in time, garbage where what came is none
    /// of HTTP or too large. `MC-U002` where the file of certificates cannot be used.
    pub async fn exchange(&self, question: &Question) -> Result<Answer, Failure> {
        let place = self.place(&question.url);
        let request = request(question, &self.kind, &place)?;
        let whole = async {
            let http = self.http.get_or_try_init(|| self.connected()).await?;
            let answer = http
                .request(request)
                .await
                .map_err(|error| Failure::of_client(&self.kind, &place, &error))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, self.limits.largest).collect().await;
            let body =
                body.map_err(|error| Failure::of_body(&self.kind, &place, &*error, self.limits.largest))?;
            Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(self.limits.answer, whole)
            .await
            .unwrap_or_else(|_| Err(Failure::of_time(&self.kind, &place, self.limits.answer)))
    }

    async fn connected(&self) -> Result<legacy::Client<Connector, Full<Bytes>>> {
        let connector = match &self.socket {
            Some(socket) => Connector::at_socket(self.kind, self.limits.connect, socket.clone()),
            None => Connector::new(self.kind, self.limits.connect, self.ca.clone()).await?,
        };
        Ok(legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .build(connector))
    }
}

/// Whether `url` leads to this very machine, where plain HTTP tells nobody anything.
#[must_use]
pub fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn request(question: &Question, kind: &Kind, place: &str) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::new(Full::new(question.body.clone()));
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = question.url.as_str().parse().map_err(|error: http::uri::InvalidUri| {
        Error::new(Code::Internal, format!("{} {place} is asked at an address that is none", kind.name))
            .because(error)
    })?;
    *request.headers_mut() = question.headers.clone();
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("mcrun"));
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_by_its_address() {
        for here in ["http://127.0.0.1:8200/", "http://[::1]/", "http://localhost/"] {
            assert!(is_here(&here.parse().unwrap()), "{here}");
        }
        for elsewhere in ["http://ca.example/", "http://10.0.0.1/", "http://localhost.evil/", "unix:/x"] {
            assert!(!is_here(&elsewhere.parse().unwrap()), "{elsewhere}");
        }
    }
}
