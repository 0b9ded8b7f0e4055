//! Owns the talk with one directory while one order is carried out: what passes through our client on its way to and from
//! the ACME library, and what its errors mean to a reader.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error};
use http_body_util::BodyExt as _;
use hyper::header::{HeaderMap, HeaderValue, LINK, RETRY_AFTER};
use hyper::{Method, Request, Response};
use instant_acme::{Account, BodyWrapper, BytesResponse, HttpClient, Problem};
use url::Url;

use crate::peer::{self, Answer, Peer, Question};

/// The library asks three times by itself; a server that refuses most nonces is asked on, at a walking pace.
const MOST_NONCES: u32 = 80;
const NONCE_PAUSE: Duration = Duration::from_millis(3);

/// More other chains than anybody offers.
const MOST_LINKS: usize = 8;

/// The talk of one order.
pub(super) struct Session {
    pub(super) account: Account,
    pub(super) traffic: Traffic,
}

/// What passes between the library and the authority.
#[derive(Clone)]
pub(super) struct Traffic {
    pub(super) peer: Arc<Peer>,
    pub(super) directory: Url,
    last: Arc<Mutex<Last>>,
}

/// What the library does not hand on of the last answer.
#[derive(Default)]
struct Last {
    retry_after: Option<Duration>,
    links: Vec<Url>,
    /// The body, where the answer was a success.
    body: Option<Bytes>,
}

/// Calls the library until it is through with refused nonces, and says what its errors mean.
macro_rules! ask {
    ($traffic:expr, $what:expr, $call:expr) => {{
        let mut refusals = 0;
        loop {
            match $call.await {
                Ok(answer) => break Ok(answer),
                Err(error) => match $traffic.nonce_pause(&error, &mut refusals) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => break Err($traffic.told($what, error)),
                },
            }
        }
    }};
}
pub(super) use ask;

impl Traffic {
    pub(super) fn new(peer: Arc<Peer>, directory: Url) -> Self {
        Self { peer, directory, last: Arc::default() }
    }

    /// The client that the library is given.
    pub(super) fn client(&self) -> Box<dyn HttpClient> {
        Box::new(self.clone())
    }

    /// How long the last answer asked to be left in peace.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).retry_after
    }

    /// Where the last answer said that other chains are (RFC 8555, section 7.4.2).
    pub(super) fn alternates(&self) -> Vec<Url> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).links.clone()
    }

    pub(super) fn nonce_pause(&self, error: &instant_acme::Error, refusals: &mut u32) -> Option<Duration> {
        *refusals += 1;
        (is_problem(error, "badNonce") && *refusals < MOST_NONCES).then(|| NONCE_PAUSE * (*refusals).min(20))
    }

    /// Whether the authority does not know the account any more.
    pub(super) fn has_lost_account(&self, error: &Error) -> bool {
        let cause = error.cause.as_deref().unwrap_or_default();
        error.code == Code::AuthorityRefused
            && cause.contains("urn:ietf:params:acme:error:accountDoesNotExist")
    }

    /// What an error of the library means.
    pub(super) fn told(&self, what: &str, error: instant_acme::Error) -> Error {
        use instant_acme::Error as Library;
        let url = &self.directory;
        match error {
            Library::Api(problem) => self.problem(what, &problem),
            Library::Other(inner) => match inner.downcast::<Error>() {
                Ok(told) => *told,
                Err(other) => peer::garbage(url, format!("{what}: {other}")),
            },
            Library::Crypto | Library::KeyRejected => {
                Error::new(Code::Internal, "the key of the account cannot be used").because(error)
            }
            other => peer::garbage(url, format!("{what}: {other}")),
        }
    }

    /// What a problem document (RFC 8555, section 6.7) means.
    pub(super) fn problem(&self, what: &str, problem: &Problem) -> Error {
        let url = &self.directory;
        let kind = kind(problem);
        if kind == "serverInternal" {
            return peer::unavailable(url, format!("{what}: {}", words(problem))).retryable();
        }
        let refused = peer::refused(url, what, &words(problem));
        match kind {
            "rateLimited" => match self.retry_after() {
                Some(wait) => {
                    let again = self.peer.now().after(wait);
                    refused.hint(format!("it may be asked again at {again}")).retryable()
                }
                None => refused.hint("wait as long as the authority says, then try again").retryable(),
            },
            "externalAccountRequired" => {
                refused.hint("it wants to know whose account this is: `eab = { kid = \"…\", key = \"…\" }` under [drivers.acme]")
            }
            "connection" | "dns" | "tls" | "unauthorized" | "incorrectResponse" | "caa" => {
                refused.hint("the authority checks each name from outside: its address, what answers there, and its CAA records").retryable()
            }
            _ => refused,
        }
    }
}

impl Session {
    /// The body found at an address of the authority that only the account may read. The library has no call for that, but
    /// reads an order from anywhere: what came is looked at as it passes.
    pub(super) async fn fetch(&self, url: &Url) -> Result<Bytes, instant_acme::Error> {
        match self.account.order(url.to_string()).await {
            Ok(_) => Err(instant_acme::Error::Str("a chain, not an order")),
            Err(instant_acme::Error::Json(error)) => {
                let body = self.traffic.last.lock().unwrap_or_else(PoisonError::into_inner).body.take();
                body.ok_or(instant_acme::Error::Json(error))
            }
            Err(other) => Err(other),
        }
    }
}

/// Whether an error is a problem of this kind (RFC 8555, section 6.7).
pub(super) fn is_problem(error: &instant_acme::Error, wanted: &str) -> bool {
    matches!(error, instant_acme::Error::Api(problem) if kind(problem) == wanted)
}

fn kind(problem: &Problem) -> &str {
    problem
        .r#type
        .as_deref()
        .and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:"))
        .unwrap_or_default()
}

/// The authority's own words.
fn words(problem: &Problem) -> String {
    let mut words = problem.detail.clone().unwrap_or_else(|| "it gave no reason".into());
    if let Some(kind) = &problem.r#type {
        words.push_str(&format!(" ({kind})"));
    }
    for part in &problem.subproblems {
        words.push_str(&format!("; {part}"));
    }
    words
}

impl HttpClient for Traffic {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let traffic = self.clone();
        Box::pin(async move {
            let reads_window = request.method() == Method::GET;
            let answer =
                traffic.pass(request).await.map_err(|error| instant_acme::Error::Other(Box::new(error)))?;
            let mut response = Response::new(http_body_util::Full::new(answer.body));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            if reads_window && !response.headers().contains_key(RETRY_AFTER) {
                // RFC 9773, section 4.3.2, lets servers leave it out; the library does not.
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("21600"));
            }
            Ok(BytesResponse::from(response))
        })
    }
}

impl Traffic {
    async fn pass(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Answer, Error> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string())
            .map_err(|_| peer::garbage(&self.directory, "it names an address that is none"))?;
        // Addresses come from the authority: none of them leads to a service of this machine but its own.
        if url.scheme() != "https" && url.origin() != self.directory.origin() {
            return Err(peer::garbage(
                &self.directory,
                format!("it leads to `{}` without TLS", peer::host(&url)),
            ));
        }
        let mut question = Question::new(parts.method, url);
        question.headers = parts.headers;
        question.body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        // A signed question cannot arrive twice: its nonce is used up (RFC 8555, section 6.5).
        question.is_harmless = true;
        let answer = self.peer.ask(&question).await?;
        let is_problem = || serde_json::from_slice::<Problem>(&answer.body).is_ok();
        if answer.status.is_server_error() && !is_problem() {
            return Err(
                peer::unavailable(&question.url, format!("it answered with {}", answer.status)).retryable()
            );
        }
        if answer.status.is_client_error() && question.method != Method::HEAD && !is_problem() {
            return Err(peer::garbage(&question.url, format!("{} without a reason", answer.status)));
        }
        if answer.status.is_redirection() {
            return Err(peer::garbage(&question.url, "it redirects, which is not ACME")
                .hint("write the address that it redirects to"));
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Last {
            retry_after: peer::retry_after(&answer.headers, self.peer.now()),
            links: alternates(&answer.headers, &question.url),
            body: answer.status.is_success().then(|| answer.body.clone()),
        };
        Ok(answer)
    }
}

/// `<https://…>;rel="alternate"` (RFC 8288).
fn alternates(headers: &HeaderMap, base: &Url) -> Vec<Url> {
    let links =
        headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok()).flat_map(|links| links.split(','));
    let one = |link: &str| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_alternate =
            rest.split(';').any(|part| matches!(part.trim(), "rel=\"alternate\"" | "rel=alternate"));
        is_alternate.then(|| base.join(address).ok())?
    };
    links.filter_map(one).take(MOST_LINKS).collect()
}
