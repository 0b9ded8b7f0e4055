//! Owns what everybody may fetch of the embedded authority: its certificates and the lists of revoked ones, over plain
//! HTTP, because whoever checks a certificate cannot check another one for that first (RFC 5280, section 8).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use certs::certificate::{chain_from_pem, to_pem};
use certs::embedded::Authority;
use effect::{Code, Result};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use crate::listen::Handler;

/// How long others may keep what they fetched, in seconds: a revocation is seen within that time.
const KEPT: &str = "max-age=300";

/// Answers for the embedded authority.
#[derive(Clone)]
pub struct Publisher {
    authority: Arc<Authority>,
}

impl Publisher {
    /// Publishes what `authority` has.
    #[must_use]
    pub fn new(authority: Arc<Authority>) -> Self {
        Self { authority }
    }

    async fn find(&self, path: &str) -> Result<Option<(&'static str, Bytes)>> {
        if !self.authority.exists().await? {
            return Ok(None);
        }
        if let Some(id) = between(path, "/crl/", ".crl") {
            return match self.authority.list_of_revoked(id).await {
                Ok(list) => Ok(Some(("application/pkix-crl", Bytes::copy_from_slice(&list.der)))),
                Err(error) if error.code == Code::AuthorityInvalid => Ok(None),
                Err(error) => Err(error),
            };
        }
        if let Some(id) = between(path, "/ca/", ".cer") {
            let standing = self.authority.standing().await?;
            let intermediates = standing.intermediates.iter().map(|each| (&each.id, &each.certificate));
            let roots = standing.roots.iter().map(|each| (&each.id, &each.certificate));
            let found = intermediates.chain(roots).find(|(known, _)| known.as_str() == id);
            let Some((_, pem)) = found else { return Ok(None) };
            let first = chain_from_pem(pem)?.into_iter().next();
            return Ok(first.map(|der| ("application/pkix-cert", Bytes::copy_from_slice(&der))));
        }
        if path == "/ca/roots.pem" {
            let pem = to_pem(&self.authority.trusted().await?);
            return Ok(Some(("application/pem-certificate-chain", pem.into())));
        }
        Ok(None)
    }
}

/// What stands between the two ends of a path, where that could be an id.
fn between<'a>(path: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let id = path.strip_prefix(before)?.strip_suffix(after)?;
    let fits = !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then_some(id)
}

impl Handler for Publisher {
    async fn handle(&self, request: Request<Bytes>, _: SocketAddr) -> Response<Bytes> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match self.find(request.uri().path()).await {
            Ok(Some((kind, body))) => {
                let mut response = Response::new(body);
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static(KEPT));
                response
            }
            Ok(None) => plain(StatusCode::NOT_FOUND, "there is nothing here"),
            Err(error) => {
                tracing::warn!(%error, "the authority cannot be published");
                plain(StatusCode::SERVICE_UNAVAILABLE, "not now")
            }
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    response
}
