//! Owns questions to other authorities over HTTP: whom TLS trusts, how long an answer may take and how large it may be,
//! what is tried again, and the error that says why there is no answer. Leaves what the answers mean to the drivers.

mod connect;
mod failure;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error, Result, Timestamp};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use journal::Clock;
use tokio::sync::OnceCell;
use url::{Host, Url};

use connect::Connector;
pub(crate) use connect::certificates;
pub(crate) use failure::{garbage, host, refused, unavailable};

/// Where randomness comes from: a number from 0 to 1.
pub type Jitter = dyn Fn() -> f64 + Send + Sync;

/// Larger than any chain, and no burden.
const LARGEST_ANSWER: usize = 1 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Idle connections are kept for the next steps of an order, and not for ever.
const IDLE: Duration = Duration::from_secs(20);

/// How long another authority is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For one answer.
    pub answer: Duration,
    /// How often a question is asked altogether.
    pub tries: u32,
    /// The longest wait that an authority may ask for; beyond it the question fails with the time.
    pub longest_wait: Duration,
    /// For an order to be proven and carried out.
    pub order: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            tries: 4,
            longest_wait: Duration::from_secs(60),
            order: Duration::from_secs(300),
        }
    }
}

/// How one authority is reached.
pub struct Peer {
    ca: Option<PathBuf>,
    patience: Patience,
    clock: Arc<dyn Clock>,
    jitter: Arc<Jitter>,
    client: OnceCell<Client<Connector, Full<Bytes>>>,
}

/// One question.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether it may be asked again although the first one may have arrived.
    pub(crate) is_harmless: bool,
    /// Whether an answer that looks as if it might pass will not.
    pub(crate) is_final: fn(&Answer) -> bool,
}

/// The whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Question {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        let is_harmless = method.is_safe();
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), is_harmless, is_final: |_| false }
    }
}

impl Peer {
    /// A way to an authority whose own certificate is signed by those of the file `ca` in PEM, else by the system's. The
    /// file is read when the first question is asked.
    #[must_use]
    pub fn new(ca: Option<PathBuf>, patience: Patience, clock: Arc<dyn Clock>, jitter: Arc<Jitter>) -> Self {
        Self { ca, patience, clock, jitter, client: OnceCell::new() }
    }

    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Asks, again where the failure may pass.
    ///
    /// # Errors
    /// `MC-E011` where there is no answer, `MC-E012` where it is none of HTTP or too large.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Answer> {
        admit(&question.url)?;
        let mut number = 1;
        loop {
            let pause = match self.exchange(question).await {
                Ok(answer) => match self.pause_for(question, &answer, number) {
                    Some(pause) => pause,
                    None => return Ok(answer),
                },
                Err(failure) if failure.may_be_repeated(question) && number < self.patience.tries => {
                    tracing::info!(target: "certs", error = %failure.error, attempt = number, "asking again");
                    self.pause(number)
                }
                Err(failure) => return Err(failure.tried(number)),
            };
            tokio::time::sleep(pause).await;
            number += 1;
        }
    }

    /// How long is waited before the same is asked again, where the answer says that this may help.
    fn pause_for(&self, question: &Question, answer: &Answer, number: u32) -> Option<Duration> {
        // These two say that nothing was done; of what is behind a gateway nobody knows.
        let was_not_done = matches!(answer.status.as_u16(), 429 | 503);
        let may_pass = was_not_done || question.is_harmless && matches!(answer.status.as_u16(), 502 | 504);
        if !may_pass || number >= self.patience.tries || (question.is_final)(answer) {
            return None;
        }
        let pause = retry_after(&answer.headers, self.now()).unwrap_or_else(|| self.pause(number));
        (pause <= self.patience.longest_wait).then_some(pause)
    }

    /// Twice as long each time up to a bound, of which half is left to chance.
    pub(crate) fn pause(&self, number: u32) -> Duration {
        let full = FIRST_PAUSE.saturating_mul(1 << number.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
        full.mul_f64(0.5 + 0.5 * (self.jitter)().clamp(0.0, 1.0))
    }

    async fn exchange(&self, question: &Question) -> Result<Answer, failure::Failure> {
        let url = &question.url;
        let client = self.client.get_or_try_init(|| self.client()).await?;
        let request = request(question)?;
        let whole = async {
            let answer = client.request(request).await.map_err(|error| failure::of_client(url, &error))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await;
            let body = body.map_err(|error| failure::of_body(url, &*error, LARGEST_ANSWER))?;
            Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(self.patience.answer, whole).await.unwrap_or_else(|_| {
            Err(failure::of_time(url, &format!("no answer within {:?}", self.patience.answer)))
        })
    }

    async fn client(&self) -> Result<Client<Connector, Full<Bytes>>> {
        let connector = Connector::new(self.ca.clone(), self.patience.connect).await?;
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .build(connector))
    }
}

/// TLS everywhere but on this very machine, where an agent of the authority may listen.
fn admit(url: &Url) -> Result<()> {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_here => Ok(()),
        _ => Err(Error::new(
            Code::Config,
            format!("authorities are asked over HTTPS only, not at `{}`", host(url)),
        )
        .hint("write `https://…`; `http://` goes to 127.0.0.1 alone")),
    }
}

fn request(question: &Question) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::new(Full::new(question.body.clone()));
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = question
        .url
        .as_str()
        .parse()
        .map_err(|error| garbage(&question.url, "it names an address that is none").because(error))?;
    *request.headers_mut() = question.headers.clone();
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("mcrun"));
    Ok(request)
}

/// What the header `Retry-After` says (RFC 9110, section 10.2.3): seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp(date.timestamp().as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_seconds_or_by_date() {
        let after = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(&headers, Timestamp(946_684_790_000)).map(|span| span.as_secs())
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sat, 01 Jan 2000 00:00:00 GMT"), Some(10));
        assert_eq!(after("Fri, 31 Dec 1999 23:59:00 GMT"), Some(0));
        for bad in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["https://ca.example/x", "http://127.0.0.1:8200/", "http://[::1]/", "http://localhost/"] {
            assert!(admit(&good.parse().unwrap()).is_ok(), "{good}");
        }
        for bad in ["http://ca.example/", "http://10.0.0.1/", "ftp://127.0.0.1/", "http://localhost.evil/"] {
            assert_eq!(admit(&bad.parse().unwrap()).unwrap_err().code, Code::Config, "{bad}");
        }
    }
}
