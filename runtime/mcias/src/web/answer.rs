//! Owns answers: what each of them says beside its body, and refusals, which have one shape.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::json as object;

/// What is answered.
pub type Answer = Response<Bytes>;
/// An answer, or why there is none.
pub type Answered = Result<Answer, Refused>;

/// What a page may load, and where its forms may lead. Scripts and styles are files of their own.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What holds for every answer that does not say otherwise.
const ALWAYS: [(HeaderName, &str); 8] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A request that is refused. Boxed: it is rarely made, and passed on often.
#[derive(Debug)]
pub struct Refused(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refused {
    /// One with a status, a code that does not change, and words for whoever asked.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { status, code, message: message.into(), headers: Vec::new() }))
    }

    /// With a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// With the time after which to ask again, in whole seconds, at least one.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from(seconds(wait)))
    }

    /// There is no such thing, or none that this caller may know of.
    #[must_use]
    pub fn unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
    }

    /// What was sent cannot be read.
    #[must_use]
    pub fn malformed(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", why)
    }

    /// What was sent is larger than anything that is asked.
    #[must_use]
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the request is too large")
    }

    /// It is not known who asks.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "a valid token is needed")
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// Whoever asks may not.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "this account may not do that")
    }

    /// The path has other methods: `GET, POST`.
    #[must_use]
    pub fn method(allowed: &str) -> Self {
        let refused = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path has other methods");
        match HeaderValue::from_str(allowed) {
            Ok(allowed) => refused.with(ALLOW, allowed),
            Err(_) => refused,
        }
    }

    /// It was asked too often.
    #[must_use]
    pub fn too_often(wait: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_often", "it was tried too often; wait").after(wait)
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Why, in words for whoever asked.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// As REST answers it; a page shows its status and words instead.
    #[must_use]
    pub fn into_answer(self) -> Answer {
        let Parts { status, code, message, headers } = *self.0;
        let body = object!({ "error": { "code": code, "message": message } }).to_string();
        let mut answer = of(status, "application/json", body);
        for (name, value) in headers {
            answer.headers_mut().insert(name, value);
        }
        answer
    }
}

/// A time in whole seconds as clients are told to wait it.
#[must_use]
pub fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// An answer with a body of a type.
#[must_use]
pub fn of(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// An answer in JSON.
///
/// # Errors
/// Where the value cannot be encoded.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answered {
    let body = serde_json::to_vec(value).map_err(|error| {
        effect::Error::new(effect::Code::Internal, "an answer cannot be encoded").because(error)
    })?;
    Ok(of(status, "application/json", body))
}

/// A page.
#[must_use]
pub fn page(status: StatusCode, html: impl Into<Bytes>) -> Answer {
    of(status, "text/html; charset=utf-8", html)
}

/// An answer without a body.
#[must_use]
pub fn nothing() -> Answer {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// Sends a browser elsewhere, by GET whatever it asked by.
///
/// # Errors
/// 400 for an address that cannot stand in a header.
pub fn redirect(address: &str) -> Answered {
    let location =
        HeaderValue::from_str(address).map_err(|_| Refused::malformed("the address is no address"))?;
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    answer.headers_mut().insert(LOCATION, location);
    Ok(answer)
}

/// The same answer with what every answer says, where it does not say otherwise itself.
pub(super) fn secured(mut answer: Answer) -> Answer {
    for (name, value) in ALWAYS {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}
