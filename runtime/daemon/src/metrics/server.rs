//! Owns the page for Prometheus behind its address.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use journal::Journal;
use serde::Deserialize;

use super::{Metrics, gather, text};
use crate::listen::Handler;

/// `[daemon.metrics]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the page is shown. Whoever reaches it reads it: an address of this machine, or of a network that is trusted.
    pub listen: SocketAddr,
}

/// Shows the page.
#[derive(Debug, Clone)]
pub struct Page {
    metrics: Metrics,
    journal: Journal,
}

impl Page {
    /// The page of `metrics` and of what `journal` knows.
    #[must_use]
    pub fn new(metrics: Metrics, journal: Journal) -> Self {
        Self { metrics, journal }
    }
}

impl Handler for Page {
    async fn handle(&self, request: Request<Bytes>, _: SocketAddr) -> Response<Bytes> {
        let is_head = request.method() == Method::HEAD;
        if request.uri().path() != "/metrics" {
            return plain(StatusCode::NOT_FOUND, "the figures are at /metrics\n");
        }
        if !is_head && request.method() != Method::GET {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "figures are only read\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        let page = if is_head { String::new() } else { text(&gather(&self.metrics, &self.journal).await) };
        let mut response = Response::new(Bytes::from(page));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(super::CONTENT_TYPE));
        response
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
