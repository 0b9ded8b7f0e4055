//! Owns answers on their way out: status, body, and the headers that RFC 8555 asks for.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER,
};
use http::{Response, StatusCode};
use serde_json::Value;

use super::problem::Problem;

const NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    status: StatusCode,
    content: &'static str,
    body: String,
    headers: Vec<(HeaderName, String)>,
}

impl Answer {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, content: "", body: String::new(), headers: Vec::new() }
    }

    pub(super) fn json(status: StatusCode, body: Value) -> Self {
        Self { content: "application/json", body: body.to_string(), ..Self::empty(status) }
    }

    /// A chain of certificates (RFC 8555, section 9.1).
    pub(super) fn chain(pem: String) -> Self {
        Self { content: "application/pem-certificate-chain", body: pem, ..Self::empty(StatusCode::OK) }
    }

    pub(super) fn problem(problem: &Problem) -> Self {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = Self::json(status, problem.document());
        answer.content = "application/problem+json";
        if let Some(wait) = problem.retry_after {
            answer = answer.after(wait);
        }
        if let Some(location) = &problem.location {
            answer = answer.at(location.clone());
        }
        match &problem.terms {
            Some(terms) => answer.link(terms.clone(), "terms-of-service"),
            None => answer,
        }
    }

    #[must_use]
    pub(super) fn at(self, location: String) -> Self {
        self.with(LOCATION, location)
    }

    #[must_use]
    pub(super) fn link(self, url: String, relation: &str) -> Self {
        self.with(LINK, format!("<{url}>;rel=\"{relation}\""))
    }

    /// When to ask again: whole seconds.
    #[must_use]
    pub(super) fn after(self, wait: Duration) -> Self {
        self.with(RETRY_AFTER, wait.as_secs().max(1).to_string())
    }

    #[must_use]
    pub(super) fn allow(self, methods: &str) -> Self {
        self.with(ALLOW, methods.to_owned())
    }

    #[must_use]
    pub(super) fn nonce(self, nonce: String) -> Self {
        self.with(NONCE, nonce)
    }

    fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The response. Nothing of it may be kept by anybody between.
    pub(super) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !self.content.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content));
        }
        for (name, value) in self.headers {
            match HeaderValue::try_from(value) {
                Ok(value) => drop(headers.append(name, value)),
                Err(error) => tracing::error!(%error, %name, "a header cannot be written"),
            }
        }
        response
    }
}
