//! Owns a request with its redirects and its time-out.

use std::path::PathBuf;

use bytes::Bytes;
use effect::units::{Size, Span};
use effect::{Code, Error, Result};
use hyper::Method;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, LOCATION,
};
use url::Url;

use super::Response;
use super::exchange::{Answer, exchange, failed};

/// A request as it goes out.
pub(crate) struct Outgoing {
    pub(crate) url: Url,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    /// Headers that never leave for another origin.
    pub(crate) secret_headers: Vec<HeaderName>,
    pub(crate) body: Bytes,
    /// Whether the body holds a secret: it never leaves for another origin either.
    pub(crate) secret_body: bool,
    pub(crate) timeout: Span,
    pub(crate) limit: Size,
    /// How many redirects are followed.
    pub(crate) redirects: u32,
    pub(crate) ca: Option<PathBuf>,
}

/// Sends a request and follows its redirects, each of which `admit` must allow.
pub(crate) async fn send(
    request: Outgoing,
    admit: &(dyn Fn(&Url) -> Result<()> + Send + Sync),
) -> Result<Response> {
    let (timeout, name) = (request.timeout, super::name(&request.url));
    match tokio::time::timeout(timeout.0, follow(request, admit)).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!("the request to `{name}` was given up after {timeout}");
            Err(Error::new(Code::TimedOut, message).retryable())
        }
    }
}

async fn follow(
    mut request: Outgoing,
    admit: &(dyn Fn(&Url) -> Result<()> + Send + Sync),
) -> Result<Response> {
    let mut left = request.redirects;
    loop {
        let Outgoing { url, method, headers, body, ca, limit, .. } = &request;
        let answer = exchange(url, method, headers, body, ca.as_deref(), *limit).await?;
        let target = redirect(&request, &answer)?;
        match target {
            Some(_) if left == 0 && request.redirects > 0 => {
                let message = format!(
                    "`{}` redirects more than {} times",
                    super::name(&request.url),
                    request.redirects
                );
                return Err(Error::new(Code::HttpFailed, message));
            }
            Some(target) if left > 0 => {
                admit(&target)?;
                left -= 1;
                request = redirected(request, answer.status.as_u16(), target)?;
            }
            _ => return Ok(response(&request.url, &answer)),
        }
    }
}

fn response(url: &Url, answer: &Answer) -> Response {
    Response {
        status: answer.status.as_u16(),
        headers: answer.header_texts(),
        body: String::from_utf8_lossy(&answer.body).into_owned(),
        url: url.to_string(),
    }
}

/// Where an answer redirects to.
fn redirect(request: &Outgoing, answer: &Answer) -> Result<Option<Url>> {
    if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = answer.headers.get(LOCATION) else { return Ok(None) };
    let location = location.to_str().map_err(|error| failed(&request.url, error))?;
    let target = request.url.join(location).map_err(|error| failed(&request.url, error))?;
    super::parse(target.as_str()).map(Some)
}

/// The request as it is repeated at `target`.
fn redirected(mut request: Outgoing, status: u16, target: Url) -> Result<Outgoing> {
    let becomes_get = match status {
        303 => request.method != Method::HEAD,
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        request.method = Method::GET;
        request.body = Bytes::new();
        request.secret_body = false;
        request.headers.remove(CONTENT_TYPE);
        request.headers.remove(CONTENT_LENGTH);
    }
    if request.url.origin() != target.origin() {
        if request.secret_body {
            let message = format!(
                "`{}` redirects a body that holds a secret to another origin, `{}`",
                super::name(&request.url),
                super::name(&target)
            );
            let hint = "send it to the address that it is meant for, and list that in the secret's `to`";
            return Err(Error::new(Code::SecretPlace, message).hint(hint));
        }
        let secret = std::mem::take(&mut request.secret_headers);
        for name in secret.into_iter().chain([AUTHORIZATION, COOKIE, HOST]) {
            request.headers.remove(name);
        }
    }
    request.url = target;
    Ok(request)
}
