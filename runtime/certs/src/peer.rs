//! Owns questions to other authorities: how long they are waited for, what is tried again, and the codes of what fails.
//! Leaves what the answers mean to the drivers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::peer::{Client, Failure, Kind};
use bytes::Bytes;
use effect::{Code, Error, Result, Timestamp};
use hyper::Method;
use hyper::header::{HeaderMap, RETRY_AFTER};
use journal::Clock;
use url::Url;

pub(crate) use ::peer::{Answer, certificates, host};

/// Where randomness comes from: a number from 0 to 1.
pub type Jitter = dyn Fn() -> f64 + Send + Sync;

/// Larger than any chain, and no burden.
const LARGEST_ANSWER: usize = 1 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
const KIND: Kind = Kind {
    name: "the authority",
    unavailable: Code::AuthorityUnavailable,
    refused: Code::AuthorityRefused,
    garbage: Code::CertificateAnswer,
};

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
    patience: Patience,
    clock: Arc<dyn Clock>,
    jitter: Arc<Jitter>,
    client: Client,
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

impl Question {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        let is_harmless = method.is_safe();
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), is_harmless, is_final: |_| false }
    }

    fn may_be_repeated(&self, failure: &Failure) -> bool {
        failure.error.retryable && (failure.is_unsent || self.is_harmless)
    }
}

impl Peer {
    /// A way to an authority whose own certificate is signed by those of the file `ca` in PEM, else by the system's. The
    /// file is read when the first question is asked.
    #[must_use]
    pub fn new(ca: Option<PathBuf>, patience: Patience, clock: Arc<dyn Clock>, jitter: Arc<Jitter>) -> Self {
        let limits =
            ::peer::Limits { connect: patience.connect, answer: patience.answer, largest: LARGEST_ANSWER };
        Self { patience, clock, jitter, client: Client::new(KIND, limits, ca) }
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
                Err(failure) if question.may_be_repeated(&failure) && number < self.patience.tries => {
                    tracing::info!(target: "certs", error = %failure.error, attempt = number, "asking again");
                    self.pause(number)
                }
                Err(failure) => return Err(tried(failure, number)),
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

    async fn exchange(&self, question: &Question) -> Result<Answer, Failure> {
        let asked = ::peer::Question {
            method: question.method.clone(),
            url: question.url.clone(),
            headers: question.headers.clone(),
            body: question.body.clone(),
        };
        self.client.exchange(&asked).await
    }
}

fn tried(failure: Failure, number: u32) -> Error {
    match number {
        1 => failure.error,
        _ => failure.error.detail(format!("it was tried {number} times")),
    }
}

/// `MC-E011`: no answer. The cause says why.
pub(crate) fn unavailable(url: &Url, cause: impl std::fmt::Display) -> Error {
    KIND.unavailable(&host(url), cause)
}

/// `MC-E010`: the answer was no. The cause is the authority's own words.
pub(crate) fn refused(url: &Url, what: &str, cause: &str) -> Error {
    KIND.refused(&host(url), what, cause)
}

/// `MC-E012`: something came that is no answer.
pub(crate) fn garbage(url: &Url, cause: impl std::fmt::Display) -> Error {
    KIND.garbage(&host(url), cause)
}

/// TLS everywhere but on this very machine, where an agent of the authority may listen.
fn admit(url: &Url) -> Result<()> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if ::peer::is_here(url) => Ok(()),
        _ => Err(Error::new(
            Code::Config,
            format!("authorities are asked over HTTPS only, not at `{}`", host(url)),
        )
        .hint("write `https://…`; `http://` goes to 127.0.0.1 alone")),
    }
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
    use hyper::header::HeaderValue;

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
