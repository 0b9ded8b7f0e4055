//! Owns single calls: over HTTP with the token, within a time and a size, and what a refusal means.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error, Result};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::api::Refusal;
use super::connect::Connector;
use crate::name::Name;
use crate::secret::Secrets;

/// Octets of one answer: a zone of some hundred thousand records.
const LARGEST_ANSWER: usize = 64 << 20;
/// Idle connections are kept for the next call, and not for ever.
const IDLE: Duration = Duration::from_secs(20);
/// Letters of an error that the server wrote.
const LONGEST_QUOTE: usize = 600;

/// The way to one server.
pub(super) struct Api {
    pub(super) url: Url,
    /// The name of the secret that holds the token.
    pub(super) token: String,
    pub(super) secrets: Secrets,
    pub(super) ca: Option<PathBuf>,
    pub(super) patience: Duration,
    pub(super) client: OnceCell<Client<Connector, Full<Bytes>>>,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Beneath `/v1/zones`.
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Bytes,
    /// What it is about, for errors.
    pub(super) what: &'a str,
}

/// A whole answer.
pub(super) struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &'a [&'a str], what: &'a str) -> Self {
        Self { method, path, query: &[], body: Bytes::new(), what }
    }

    pub(super) fn asking(mut self, query: &'a [(&'a str, &'a str)]) -> Self {
        self.query = query;
        self
    }

    pub(super) fn saying(mut self, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::new(Code::Internal, "a call cannot be encoded").because(error))?;
        self.body = Bytes::from(body);
        Ok(self)
    }
}

impl Api {
    /// Makes a call whose answer is `T`.
    pub(super) async fn read<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        let what = call.what.to_owned();
        let answer = self.make(call).await?;
        serde_json::from_slice(&answer.body).map_err(|error| garbage(&self.url, format!("{what}: {error}")))
    }

    /// Makes a call of which nobody needs the answer; says whether what it was about is there.
    pub(super) async fn tell(&self, call: Call<'_>) -> Result<bool> {
        match self.make(call).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == Code::DnsZone => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn make(&self, call: Call<'_>) -> Result<Answer> {
        let request = self.request(&call).await?;
        let client = self.client.get_or_try_init(|| self.connected()).await?;
        let exchange = async {
            let answer = client.request(request).await.map_err(|error| broken(&self.url, &error))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await;
            let body = body.map_err(|error| broken_within(&self.url, &*error))?;
            Ok(Answer { status: parts.status, body: body.to_bytes() })
        };
        let answer = tokio::time::timeout(self.patience, exchange).await.unwrap_or_else(|_| {
            Err(unavailable(&self.url, format!("no answer within {:?}", self.patience)).retryable())
        })?;
        if answer.status.is_success() { Ok(answer) } else { Err(self.refusal(call.what, &answer)) }
    }

    async fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>> {
        let mut url = self.url.clone();
        let no_address = || Error::new(Code::Internal, "a checked address is none");
        url.path_segments_mut()
            .map_err(|()| no_address())?
            .pop_if_empty()
            .extend(["v1", "zones"].iter().chain(call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = url.as_str().parse().map_err(|_| no_address())?;
        let value = self.secrets.value(&self.token).await?;
        let bearer = Zeroizing::new([b"Bearer ".as_slice(), &value].concat());
        let mut token = HeaderValue::from_bytes(&bearer).map_err(|_| {
            let message = format!("the secret `{}` is no token: it holds what a header cannot", self.token);
            Error::new(Code::Config, message)
        })?;
        token.set_sensitive(true);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, token);
        headers.insert(USER_AGENT, HeaderValue::from_static("mcrun"));
        if !call.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    }

    async fn connected(&self) -> Result<Client<Connector, Full<Bytes>>> {
        let connector = Connector::new(self.ca.clone(), self.patience).await?;
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .build(connector))
    }

    fn refusal(&self, what: &str, answer: &Answer) -> Error {
        let (url, status) = (&self.url, answer.status);
        let told = serde_json::from_slice::<Refusal>(&answer.body).ok();
        let Some(words) = told.map(|refusal| printable(&refusal.error)) else {
            return match status.as_u16() {
                429 | 500..=599 => unavailable(url, format!("it answered with {status}")).retryable(),
                401 | 403 => self.refused(what, &format!("{status} without a reason")),
                _ => garbage(url, format!("{what}: {status} without a reason"))
                    .hint("check that `url` under [drivers.rest] leads to mcns"),
            };
        };
        match status.as_u16() {
            400 => Error::new(Code::DnsValue, format!("{} cannot take {what}", place(url))).because(words),
            401 | 403 => self.refused(what, &words),
            404 => Error::new(Code::DnsZone, format!("{} does not have {what}", place(url))).because(words),
            409 => {
                Error::new(Code::DnsExclusive, format!("{what} stands against other records")).because(words)
            }
            429 => refused(url, what, words).retryable(),
            501 => Error::new(Code::Unsupported, format!("{} does not do {what}", place(url))).because(words),
            500..=599 => unavailable(url, words).retryable(),
            _ => refused(url, what, words),
        }
    }

    fn refused(&self, what: &str, words: &str) -> Error {
        refused(&self.url, what, words).hint(format!(
            "the token in the secret `{}` has expired, or it may not do this there",
            self.token
        ))
    }
}

/// TLS everywhere but on this very machine.
///
/// # Errors
/// `MC-U002` for another address.
pub(super) fn admit(url: &Url) -> Result<()> {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_here => Ok(()),
        _ => Err(Error::new(Code::Config, "[drivers.rest] url: calls are made over HTTPS only")
            .hint("write `https://…`; `http://` goes to 127.0.0.1 alone")),
    }
}

/// A zone as a part of a path. The root's name would be taken for the path itself.
pub(super) fn segment(zone: &Name) -> Result<String> {
    if *zone == Name::root() {
        return Err(Error::new(Code::DnsZone, "the root cannot be reached by the calls of mcns"));
    }
    Ok(zone.to_string())
}

fn place(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// `MC-Q011`: no answer. The cause says why.
pub(super) fn unavailable(url: &Url, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::DnsUnavailable, format!("the name server {} does not answer", place(url)))
        .because(printable(&cause.to_string()))
}

/// `MC-Q010`: the answer was no.
fn refused(url: &Url, what: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::DnsRefused, format!("the name server {} refused {what}", place(url))).because(cause)
}

/// `MC-Q012`: something came that is no answer.
pub(super) fn garbage(url: &Url, cause: impl std::fmt::Display) -> Error {
    let message = format!("the name server {} answered with something that makes no sense", place(url));
    Error::new(Code::DnsAnswer, message).because(printable(&cause.to_string()))
}

/// What a peer wrote, as it can be shown: on one line, and not for ever.
fn printable(text: &str) -> String {
    let one = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut shown: String = text.chars().take(LONGEST_QUOTE).map(one).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        shown.push('…');
    }
    shown
}

fn broken(url: &Url, error: &legacy::Error) -> Error {
    // What the connector said is more than what the client makes of it.
    if let Some(told) = causes(error).find_map(|cause| cause.downcast_ref::<Error>()) {
        return told.clone();
    }
    let is_no_http =
        causes(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse));
    if is_no_http {
        return garbage(url, "it does not speak HTTP");
    }
    let deepest = causes(error).last().map_or_else(String::new, ToString::to_string);
    unavailable(url, format!("the connection broke: {deepest}")).retryable()
}

fn broken_within(url: &Url, error: &(dyn StdError + 'static)) -> Error {
    if error.is::<LengthLimitError>() {
        return garbage(url, "it is larger than 64 MiB");
    }
    unavailable(url, format!("the connection broke within the answer: {error}")).retryable()
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["https://mcns.example/x", "http://127.0.0.1:8443/", "http://[::1]/", "http://localhost/"]
        {
            assert!(admit(&good.parse().unwrap()).is_ok(), "{good}");
        }
        for bad in ["http://mcns.example/", "http://10.0.0.1/", "ftp://127.0.0.1/", "http://localhost.evil/"]
        {
            assert_eq!(admit(&bad.parse().unwrap()).unwrap_err().code, Code::Config, "{bad}");
        }
    }
}
